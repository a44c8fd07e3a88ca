// ioredis against a running larder: `node ioredis.cjs HOST PORT`. Prints failures only.
const assert = require("node:assert/strict");
const { once } = require("node:events");
const Redis = require("ioredis");

const [host, port] = process.argv.slice(2);
const open = [];
const connect = (more) => {
  const client = new Redis({ host, port: Number(port), maxRetriesPerRequest: 0, retryStrategy: () => null, ...more });
  client.on("error", () => {}); // Every command's own promise tells.
  open.push(client);
  return client;
};
const redis = connect();

const cases = {
  async "values, expiry, counters and lists"() {
    await redis.del("i:text", "i:list", "i:count");
    assert.equal(await redis.set("i:text", "hello", "EX", 100), "OK");
    assert.equal(await redis.get("i:text"), "hello");
    assert.ok((await redis.ttl("i:text")) > 90);
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, n) => n));
    await redis.set("i:bytes", bytes);
    assert.deepEqual(await redis.getBuffer("i:bytes"), bytes);
    const large = "x".repeat(1 << 20);
    await redis.set("i:large", large);
    assert.equal(await redis.get("i:large"), large);
    assert.equal(await redis.incrby("i:count", 3), 3);
    assert.equal(await redis.rpush("i:list", "a", "b", "c"), 3);
    assert.deepEqual(await redis.lrange("i:list", 0, -1), ["a", "b", "c"]);
    assert.deepEqual(await redis.mget("i:text", "i:absent"), ["hello", null]);
  },

  async "a pipeline keeps its order and its errors"() {
    const pipeline = redis.pipeline();
    for (let n = 0; n < 500; n++) pipeline.set(`i:p:${n}`, n).get(`i:p:${n}`);
    const results = await pipeline.lpush("i:p:0", "x").exec();
    results.slice(0, -1).forEach(([error, result], at) => {
      assert.equal(error, null);
      assert.equal(result, at % 2 === 0 ? "OK" : String((at - 1) / 2));
    });
    assert.match(results.at(-1)[0].message, /WRONGTYPE/);
  },

  async "MULTI runs as one step, WATCH sees a change"() {
    await redis.del("i:tx");
    assert.deepEqual(await redis.multi().set("i:tx", 1).incr("i:tx").exec(), [[null, "OK"], [null, 2]]);
    const watcher = connect();
    await watcher.watch("i:tx");
    await redis.set("i:tx", 10);
    assert.equal(await watcher.multi().incr("i:tx").exec(), null);
    await watcher.watch("i:tx");
    assert.deepEqual(await watcher.multi().incr("i:tx").exec(), [[null, 11]]);
    await assert.rejects(redis.multi().set("i:tx").exec(), /EXECABORT/);
  },

  async "messages arrive in order, and only while subscribed"() {
    const subscriber = connect();
    assert.equal(await subscriber.subscribe("i:news", "i:more"), 2);
    const heard = [];
    subscriber.on("message", (channel, message) => heard.push(`${channel} ${message}`));
    for (let n = 0; n < 5; n++) assert.equal(await redis.publish("i:news", n), 1);
    while (heard.length < 5) await once(subscriber, "message");
    assert.deepEqual(heard, [0, 1, 2, 3, 4].map((n) => `i:news ${n}`));
    assert.equal(await subscriber.unsubscribe("i:news"), 1);
    assert.equal(await redis.publish("i:news", "nobody"), 0);
    assert.equal(await redis.publish("i:more", "last"), 1);
  },

  async "a blocked pop is served by a push, and ends at its time"() {
    await redis.del("i:queue");
    const worker = connect();
    const popped = worker.blpop("i:empty", "i:queue", 30);
    await redis.rpush("i:queue", "job");
    assert.deepEqual(await popped, ["i:queue", "job"]);
    assert.equal(await worker.blpop("i:queue", 0.05), null);
  },

  async "a scan meets every key once or more"() {
    for (let n = 0; n < 50; n++) await redis.set(`i:scan:${n}`, n);
    const found = new Set();
    for await (const keys of redis.scanStream({ match: "i:scan:*", count: 10 })) keys.forEach((key) => found.add(key));
    assert.equal(found.size, 50);
  },

  async "logins: a token is one, anything else is not"() {
    assert.equal(await connect({ password: "larder-dev-token" }).get("i:text"), "hello");
    await assert.rejects(redis.call("AUTH", "nobody", "wrong"), /WRONGPASS/);
    await assert.rejects(redis.call("AUTH", "root", "wrong"), /WRONGPASS/);
  },
};

(async () => {
  for (const [name, run] of Object.entries(cases)) {
    try {
      await run();
    } catch (error) {
      console.log(`${name}: ${error.stack ?? error}`);
      process.exitCode = 1;
    }
  }
  open.forEach((client) => client.disconnect());
})();
