// BullMQ's queues against a running larder: `node bullmq.cjs HOST PORT`. Prints failures only.
const assert = require("node:assert/strict");
// Each job waited for listens to its queue's end.
require("node:events").defaultMaxListeners = 100;
const { FlowProducer, Queue, QueueEvents, Worker } = require("bullmq");

const [host, port] = process.argv.slice(2);
const connection = { host, port: Number(port), maxRetriesPerRequest: null };

(async () => {
  const queue = new Queue("jobs", { connection });
  const events = new QueueEvents("jobs", { connection });
  await events.waitUntilReady();
  const seen = [];
  const worker = new Worker(
    "jobs",
    async (job) => {
      seen.push(job.name);
      if (job.name === "flaky" && job.attemptsMade < 2) throw new Error("not yet");
      if (job.name === "broken") throw new Error("never");
      await job.updateProgress(50);
      return (job.data.n ?? 0) * 2;
    },
    { connection, concurrency: 4 },
  );

  const plain = await queue.addBulk(Array.from({ length: 50 }, (_, n) => ({ name: "plain", data: { n } })));
  const results = await Promise.all(plain.map((job) => job.waitUntilFinished(events, 30000)));
  assert.deepEqual(results, Array.from({ length: 50 }, (_, n) => n * 2));

  const start = Date.now();
  const delayed = await queue.add("delayed", { n: 1 }, { delay: 300 });
  assert.equal(await delayed.waitUntilFinished(events, 30000), 2);
  assert.ok(Date.now() - start >= 300);

  const flaky = await queue.add("flaky", { n: 4 }, { attempts: 3, backoff: { type: "fixed", delay: 20 } });
  assert.equal(await flaky.waitUntilFinished(events, 30000), 8);
  assert.equal(seen.filter((name) => name === "flaky").length, 3);

  const broken = await queue.add("broken", {});
  await assert.rejects(broken.waitUntilFinished(events, 30000), /never/);
  assert.equal(await broken.getState(), "failed");

  await queue.pause();
  const jobs = await Promise.all([3, 1, 2].map((priority) => queue.add(`priority ${priority}`, {}, { priority })));
  await queue.resume();
  await Promise.all(jobs.map((job) => job.waitUntilFinished(events, 30000)));

  const flow = new FlowProducer({ connection });
  const tree = await flow.add({
    name: "parent",
    queueName: "jobs",
    data: { n: 5 },
    children: [1, 2].map((n) => ({ name: "child", queueName: "jobs", data: { n } })),
  });
  assert.equal(await tree.job.waitUntilFinished(events, 30000), 10);
  assert.deepEqual(Object.values(await tree.job.getChildrenValues()).sort(), [2, 4]);

  const counts = await queue.getJobCounts("completed", "failed", "waiting", "active", "delayed");
  assert.deepEqual(counts, { completed: 58, failed: 1, waiting: 0, active: 0, delayed: 0 });

  await Promise.all([worker.close(), events.close(), flow.close()]);
  await queue.obliterate({ force: true });
  await queue.close();
})().catch((error) => {
  console.log(error.stack ?? error);
  process.exit(1);
});
