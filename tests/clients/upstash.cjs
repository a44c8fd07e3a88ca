// @upstash/redis, unchanged, against a running larder: `node upstash.cjs URL TOKEN`. Prints failures only.
const assert = require("node:assert/strict");
const { Redis } = require("@upstash/redis");

const [url, token] = process.argv.slice(2);
const client = (more) => new Redis({ url, token, enableTelemetry: false, retry: false, ...more });
const redis = client();

const cases = {
  async "values come back as what they were"() {
    assert.equal(await redis.set("u:text", "hello"), "OK");
    assert.equal(await redis.get("u:text"), "hello");
    await redis.set("u:object", { a: [1, "two", null], deep: { é: true } });
    assert.deepEqual(await redis.get("u:object"), { a: [1, "two", null], deep: { é: true } });
    await redis.set("u:number", 7);
    assert.equal(await redis.get("u:number"), 7);
    assert.equal(await redis.get("u:absent"), null);
    assert.equal(await client({ automaticDeserialization: false }).get("u:number"), "7");
    const digits = "12345678901234567890";
    await redis.set("u:digits", digits);
    assert.equal(await redis.get("u:digits"), digits);
  },

  async "SET's options"() {
    assert.equal(await redis.set("u:options", "a", { ex: 100 }), "OK");
    const ttl = await redis.ttl("u:options");
    assert.ok(ttl > 0 && ttl <= 100, `ttl ${ttl}`);
    assert.equal(await redis.set("u:options", "b", { nx: true }), null);
    assert.equal(await redis.set("u:options", "c", { xx: true, get: true, keepTtl: true }), "a");
    assert.ok((await redis.pttl("u:options")) > 0);
    assert.equal(await redis.getdel("u:options"), "c");
    assert.equal(await redis.exists("u:options"), 0);
  },

  async "keys and values of every kind, base64 or not"() {
    const odd = ["a b", "a/b", "é€", "a+b=c&d", "%2F", "~'\"\\", "line\nfeed", "OK", "nul\u0000"];
    for (const encoding of ["base64", false]) {
      const plain = client({ responseEncoding: encoding, automaticDeserialization: false });
      for (const text of odd) {
        await plain.set(`u:${text}`, text);
        assert.equal(await plain.get(`u:${text}`), text, `${encoding}: ${text}`);
      }
      assert.deepEqual(await plain.mget(odd.map((text) => `u:${text}`)), odd);
    }
  },

  async "JSON documents"() {
    await redis.del("u:json");
    assert.equal(await redis.json.set("u:json", "$", { a: 1, list: ["x"], deep: { a: 2 } }), "OK");
    assert.deepEqual(await redis.json.get("u:json", "$.deep"), [{ a: 2 }]);
    assert.deepEqual(await redis.json.get("u:json"), { a: 1, list: ["x"], deep: { a: 2 } });
    assert.deepEqual(await redis.json.numincrby("u:json", "$.a", 2), [3]);
    assert.deepEqual(await redis.json.arrappend("u:json", "$.list", '"y"', '{"z":1}'), [3]);
    assert.deepEqual(await redis.json.arrlen("u:json", "$.list"), [3]);
    assert.deepEqual(await redis.json.objkeys("u:json", "$.deep"), [["a"]]);
    assert.deepEqual(await redis.json.type("u:json", "$.list"), ["array"]);
    assert.equal(await redis.json.merge("u:json", "$", { deep: null, new: true }), "OK");
    assert.deepEqual(await redis.json.toggle("u:json", "$.new"), [0]);
    assert.deepEqual(await redis.json.mget(["u:json", "u:none"], "$.new"), [[false], null]);
    assert.equal(await redis.json.del("u:json"), 1);
    await assert.rejects(redis.json.set("u:json", "$.a", 1), /new objects must be created at the root/);
  },

  async "lists, counters and keys"() {
    await redis.del("u:list", "u:count", "u:renamed");
    assert.equal(await redis.rpush("u:list", "a", "b", { c: 1 }), 3);
    assert.equal(await redis.lpush("u:list", "first"), 4);
    assert.deepEqual(await redis.lrange("u:list", 0, -1), ["first", "a", "b", { c: 1 }]);
    assert.equal(await redis.lpop("u:list"), "first");
    assert.deepEqual(await redis.rpop("u:list", 2), [{ c: 1 }, "b"]);
    assert.equal(await redis.incr("u:count"), 1);
    assert.equal(await redis.incrby("u:count", 41), 42);
    assert.equal(await redis.decr("u:count"), 41);
    assert.equal(await redis.expire("u:count", 60), 1);
    assert.equal(await redis.persist("u:count"), 1);
    assert.equal(await redis.rename("u:count", "u:renamed"), "OK");
    assert.equal(await redis.type("u:renamed"), "string");
    assert.equal(await redis.append("u:renamed", "0"), 3);
    assert.equal(await redis.strlen("u:renamed"), 3);
    assert.equal(await redis.mset({ "u:m1": 1, "u:m2": "two" }), "OK");
    assert.deepEqual(await redis.mget("u:m1", "u:absent", "u:m2"), [1, null, "two"]);
    assert.equal(await redis.unlink("u:m1", "u:m2"), 2);
    assert.equal(await redis.ping(), "PONG");
    assert.equal(await redis.echo("hello"), "hello");
  },

  async "a scan meets every key, and its cursor is a text"() {
    for (let n = 0; n < 50; n++) await redis.set(`u:scan:${n}`, n);
    const found = new Set();
    let cursor = "0";
    do {
      const [next, keys] = await redis.scan(cursor, { match: "u:scan:*", count: 7 });
      assert.equal(typeof next, "string");
      keys.forEach((key) => found.add(key));
      cursor = next;
    } while (cursor !== "0");
    assert.equal(found.size, 50);
  },

  async "a pipeline answers entry by entry"() {
    const pipeline = redis.pipeline();
    pipeline.set("u:p", 1).incr("u:p").get("u:p").mget("u:p", "u:absent");
    assert.deepEqual(await pipeline.exec(), ["OK", 2, 2, [2, null]]);
    const failing = () => redis.pipeline().set("u:p", "text").incr("u:p").get("u:p");
    await assert.rejects(failing().exec(), /Command 2 \[ incr \] failed: ERR value is not an integer/);
    const [set, incr, get] = await failing().exec({ keepErrors: true });
    assert.deepEqual([set.result, get.result], ["OK", "text"]);
    assert.match(incr.error, /not an integer/);
  },

  async "a transaction is one step"() {
    await redis.del("u:tx");
    const results = await redis.multi().set("u:tx", 1).incr("u:tx").get("u:tx").exec();
    assert.deepEqual(results, ["OK", 2, 2]);
    const counts = await Promise.all(
      Array.from({ length: 20 }, () => redis.multi().incr("u:tx:count").incr("u:tx:count").exec()),
    );
    for (const [first, second] of counts) assert.equal(second, first + 1);
    assert.equal(await redis.get("u:tx:count"), 40);
    await assert.rejects(redis.multi().set("u:tx", 9).exec().then(() => redis.multi().exec()), /Pipeline is empty/);
  },

  async "commands of one tick travel together"() {
    const wanted = Array.from({ length: 100 }, (_, n) => n);
    await Promise.all(wanted.map((n) => redis.set(`u:auto:${n}`, n)));
    assert.deepEqual(await Promise.all(wanted.map((n) => redis.get(`u:auto:${n}`))), wanted);
  },

  async "streams are acknowledged and deleted at once"() {
    await redis.del("u:stream");
    const ids = [];
    for (const n of [1, 2, 3]) ids.push(await redis.xadd("u:stream", `${n}-1`, { n }));
    await redis.xgroup("u:stream", { type: "CREATE", group: "g", id: "0" });
    await redis.xreadgroup("g", "alice", "u:stream", ">", { count: 2 });
    assert.deepEqual(await redis.xackdel("u:stream", "g", "ACKED", ids[0], ids[2]), [1, -1]);
    assert.deepEqual(await redis.xdelex("u:stream", "DELREF", ids[0], ids[1]), [-1, 1]);
    assert.equal(await redis.xlen("u:stream"), 1);
  },

  async "errors carry their reason"() {
    await redis.del("u:wrong");
    await redis.rpush("u:wrong", "a");
    await assert.rejects(redis.get("u:wrong"), /WRONGTYPE Operation against a key holding the wrong kind of value/);
    await assert.rejects(redis.exec(["NOSUCHCOMMAND", "x"]), /ERR unknown command/);
    await assert.rejects(redis.exec(["GET"]), /wrong number of arguments/);
    await assert.rejects(redis.exec(["BLPOP", "u:wrong", "0"]), /Command is not available: 'BLPOP'/);
    await assert.rejects(client({ token: "wrong" }).get("u:text"), /WRONGPASS invalid or missing auth token/);
  },

  async "the sync token changes with every write"() {
    const ask = (body) =>
      fetch(`${url}/`, { method: "POST", headers: { authorization: `Bearer ${token}` }, body: JSON.stringify(body) });
    const tokens = new Set();
    for (let n = 0; n < 5; n++) tokens.add((await ask(["SET", "u:sync", n])).headers.get("upstash-sync-token"));
    assert.equal(tokens.size, 5);
    assert.ok(!tokens.has(null));
    assert.ok((await ask(["GET", "u:sync"])).headers.get("upstash-sync-token"));
  },

  async "a cache by its path is another cache"() {
    const sessions = client({ url: `${url}/caches/sessions` });
    await redis.set("u:where", "default");
    assert.equal(await sessions.get("u:where"), null);
    await sessions.set("u:where", "sessions");
    assert.deepEqual(await sessions.pipeline().get("u:where").del("u:where").exec(), ["sessions", 1]);
    assert.deepEqual(await sessions.multi().set("u:where", 1).incr("u:where").exec(), ["OK", 2]);
    assert.equal(await redis.get("u:where"), "default");
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
})();
