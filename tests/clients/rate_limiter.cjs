// A sliding-window rate limiter in Lua, as people write them, through ioredis: `node rate_limiter.cjs HOST PORT`. Prints
// failures only.
const assert = require("node:assert/strict");
const Redis = require("ioredis");

const [host, port] = process.argv.slice(2);

// The window is a sorted set of what was let in, by when.
const SLIDING_WINDOW = `
  local now, window, limit, id = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
  local count = redis.call('ZCARD', KEYS[1])
  if count >= limit then
    local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
    return {0, 0, tonumber(oldest[2]) + window - now}
  end
  redis.call('ZADD', KEYS[1], now, id)
  redis.call('PEXPIRE', KEYS[1], window)
  return {1, limit - count - 1, 0}`;

// A bucket that fills with time, in a hash.
const TOKEN_BUCKET = `
  local rate, capacity, now, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
  local state = redis.call('HMGET', KEYS[1], 'tokens', 'at')
  local tokens, at = tonumber(state[1] or capacity), tonumber(state[2] or now)
  tokens = math.min(capacity, tokens + math.max(0, now - at) * rate / 1000)
  local allowed = tokens >= cost
  if allowed then tokens = tokens - cost end
  redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', now)
  redis.call('EXPIRE', KEYS[1], math.ceil(capacity / rate) + 1)
  return {allowed and 1 or 0, tostring(tokens)}`;

const connect = () => {
  const redis = new Redis({ host, port: Number(port), retryStrategy: () => null });
  redis.defineCommand("slide", { numberOfKeys: 1, lua: SLIDING_WINDOW });
  redis.defineCommand("take", { numberOfKeys: 1, lua: TOKEN_BUCKET });
  return redis;
};

(async () => {
  const clients = [connect(), connect(), connect()];
  const [redis] = clients;
  await redis.del("rl:window", "rl:bucket", "rl:many");

  for (let n = 0; n < 5; n++) assert.deepEqual(await redis.slide("rl:window", 1000 + n, 60000, 5, `r${n}`), [1, 4 - n, 0]);
  assert.deepEqual(await redis.slide("rl:window", 1010, 60000, 5, "r5"), [0, 0, 59990]);
  assert.deepEqual(await redis.slide("rl:window", 61002, 60000, 5, "r6"), [1, 2, 0]);
  const ttl = await redis.pttl("rl:window");
  assert.ok(ttl > 0 && ttl <= 60000, `${ttl}`);

  assert.deepEqual(await redis.take("rl:bucket", 10, 20, 0, 15), [1, "5"]);
  assert.deepEqual(await redis.take("rl:bucket", 10, 20, 0, 15), [0, "5"]);
  assert.deepEqual(await redis.take("rl:bucket", 10, 20, 550, 10), [1, "0.5"]);

  // Three clients at once, pipelined: exactly the limit gets through.
  const answers = await Promise.all(
    clients.flatMap((client, c) => Array.from({ length: 100 }, (_, n) => client.slide("rl:many", 5000, 60000, 50, `${c}:${n}`))),
  );
  assert.equal(answers.filter(([allowed]) => allowed === 1).length, 50);
  assert.equal(await redis.zcard("rl:many"), 50);

  // A server that has forgotten its scripts is told again.
  await redis.script("FLUSH");
  assert.deepEqual(await redis.slide("rl:many", 5001, 60000, 50, "late"), [0, 0, 59999]);
  const [[, piped]] = await redis.pipeline().take("rl:bucket", 10, 20, 2550, 1).exec();
  assert.deepEqual(piped, [1, "19"]);
  clients.forEach((client) => client.disconnect());
})().catch((error) => {
  console.log(error.stack ?? error);
  process.exit(1);
});
