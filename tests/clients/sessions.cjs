// A web server's sessions: express-session with connect-redis over node-redis: `node sessions.cjs HOST PORT`. Prints
// failures only.
const assert = require("node:assert/strict");
const http = require("node:http");
const session = require("express-session");
const { RedisStore } = require("connect-redis");
const { createClient } = require("redis");

const [host, port] = process.argv.slice(2);

const get = (address, path, cookie) =>
  new Promise((resolve, reject) => {
    const headers = cookie ? { cookie } : {};
    http.get({ ...address, path, headers, agent: false }, (response) => {
      let body = "";
      response.on("data", (part) => (body += part));
      response.on("end", () => resolve({ body, cookie: response.headers["set-cookie"]?.[0].split(";")[0] }));
    }).on("error", reject);
  });

const pages = {
  "/count": async (request) => String((request.session.count = (request.session.count ?? 0) + 1)),
  "/logout": async (request) => {
    await new Promise((done, fail) => request.session.destroy((error) => (error ? fail(error) : done())));
    return "bye";
  },
  "/renew": async (request) => {
    await new Promise((done, fail) => request.session.regenerate((error) => (error ? fail(error) : done())));
    return request.sessionID;
  },
};

// A server of its own, as behind a balancer.
const serve = async (store) => {
  const middleware = session({ store, secret: "secret", resave: false, saveUninitialized: false });
  const server = http.createServer((request, response) => {
    middleware(request, response, (error) => {
      const page = error ? Promise.reject(error) : pages[request.url](request);
      page.then((text) => response.end(text), (failed) => response.writeHead(500).end(String(failed)));
    });
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  const { address, port } = server.address();
  return { server, address: { host: address, port } };
};

(async () => {
  const clients = [2, 3].map((RESP) => createClient({ socket: { host, port: Number(port), reconnectStrategy: false }, RESP }));
  await Promise.all(clients.map((client) => client.connect()));
  const stores = clients.map((client) => new RedisStore({ client, prefix: "sess:", ttl: 100 }));
  const [one, two] = await Promise.all(stores.map(serve));
  const [client] = clients;

  const { body, cookie } = await get(one.address, "/count");
  assert.equal(body, "1");
  assert.ok(cookie.startsWith("connect.sid="), cookie);
  assert.equal((await get(two.address, "/count", cookie)).body, "2");
  assert.equal((await get(one.address, "/count", cookie)).body, "3");
  assert.equal((await get(one.address, "/count")).body, "1");
  const keys = await client.keys("sess:*");
  assert.equal(keys.length, 2);
  for (const key of keys) {
    const ttl = await client.ttl(key);
    assert.ok(ttl > 90 && ttl <= 100, `${ttl}`);
  }

  const all = await new Promise((done, fail) => stores[0].all((error, found) => (error ? fail(error) : done(found))));
  assert.deepEqual(all.map((each) => each.count).sort(), [1, 3]);
  const length = await new Promise((done, fail) => stores[1].length((error, found) => (error ? fail(error) : done(found))));
  assert.equal(length, 2);

  assert.equal((await get(two.address, "/logout", cookie)).body, "bye");
  const again = await get(one.address, "/count", cookie);
  assert.equal(again.body, "1");
  assert.notEqual(again.cookie, cookie);
  const renewed = await get(one.address, "/renew", again.cookie);
  assert.ok(!again.cookie.includes(renewed.body));
  await new Promise((done, fail) => stores[0].clear((error) => (error ? fail(error) : done())));
  assert.deepEqual(await client.keys("sess:*"), []);

  [one, two].forEach(({ server }) => server.close());
  clients.forEach((each) => each.destroy());
})().catch((error) => {
  console.log(error.stack ?? error);
  process.exit(1);
});
