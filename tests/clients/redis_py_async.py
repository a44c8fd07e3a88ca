"""redis-py's asyncio client against a running larder: `python redis_py_async.py HOST PORT`. Prints failures only."""

import asyncio
import sys
import traceback

import redis.asyncio as redis
from redis.exceptions import LockError, LockNotOwnedError, WatchError

HOST, PORT = sys.argv[1], int(sys.argv[2])


def connect(protocol, **more):
    return redis.Redis(host=HOST, port=PORT, protocol=protocol, decode_responses=True, socket_timeout=30, **more)


async def pipelines(r, key):
    async with r.pipeline(transaction=False) as pipe:
        for n in range(1000):
            pipe.set(key, n).get(key)
        results = await pipe.execute()
    assert results[1::2] == [str(n) for n in range(1000)], results[:10]
    async with r.pipeline(transaction=True) as pipe:
        assert await pipe.set(key, 1).incr(key).get(key).execute() == [True, 2, "2"]

    async def step(pipe):
        pipe.multi()
        pipe.incr(key)

    assert await r.transaction(step, key) == [3]
    async with r.pipeline() as pipe:
        await pipe.watch(key)
        await r.set(key, 10)
        pipe.multi()
        pipe.incr(key)
        try:
            await pipe.execute()
            raise AssertionError("a change was not seen")
        except WatchError:
            pass


async def pubsub(r, key):
    async with r.pubsub() as subscriber:
        await subscriber.subscribe(key)
        await subscriber.psubscribe(key + ":*")
        for kind in ("subscribe", "psubscribe"):
            assert (await subscriber.get_message(timeout=30))["type"] == kind
        for n in range(5):
            assert await r.publish(key, n) == 1
            assert await r.publish(f"{key}:{n}", n) == 1
        heard = []
        async with asyncio.timeout(30):
            async for message in subscriber.listen():
                if message["type"] in ("message", "pmessage"):
                    heard.append((message["type"], message["channel"], message["data"]))
                if len(heard) == 10:
                    break
        wanted = [each for n in range(5) for each in (("message", key, str(n)), ("pmessage", f"{key}:{n}", str(n)))]
        assert heard == wanted, heard


async def locks(r, key):
    lock = r.lock(key, timeout=30)
    assert await lock.acquire() and await lock.locked() and await lock.owned()
    assert not await r.lock(key, timeout=30).acquire(blocking=False)
    assert not await r.lock(key, timeout=30, blocking_timeout=0.2).acquire()
    await lock.extend(60)
    assert 30 < await r.ttl(key) <= 90
    await lock.reacquire()
    assert 0 < await r.ttl(key) <= 30
    await lock.release()
    try:
        await lock.release()
        raise AssertionError("released twice")
    except LockError:
        pass
    short = r.lock(key, timeout=0.05)
    await short.acquire()
    await asyncio.sleep(0.1)
    other = r.lock(key, timeout=30)
    assert await other.acquire(blocking=False)
    try:
        await short.release()
        raise AssertionError("somebody else's lock was released")
    except LockNotOwnedError:
        pass
    await other.release()

    # Twenty tasks count under one lock: no count is lost.
    await r.set(key + ":count", 0)

    async def count():
        async with r.lock(key, timeout=30, sleep=0.005):
            value = int(await r.get(key + ":count"))
            await asyncio.sleep(0.001)
            await r.set(key + ":count", value + 1)

    await asyncio.gather(*(count() for _ in range(20)))
    assert await r.get(key + ":count") == "20"


async def pools(r, key):
    pool = redis.BlockingConnectionPool(host=HOST, port=PORT, max_connections=4, timeout=30, decode_responses=True)
    client = redis.Redis(connection_pool=pool)

    async def work(n):
        await client.set(f"{key}:{n}", n)
        return await client.get(f"{key}:{n}")

    assert await asyncio.gather(*(work(n) for n in range(200))) == [str(n) for n in range(200)]
    popped = asyncio.gather(*(client.blpop(key + ":queue", timeout=20) for _ in range(4)))
    await r.rpush(key + ":queue", *range(4))
    assert sorted(item for _, item in map(tuple, await popped)) == ["0", "1", "2", "3"]
    await client.aclose()
    await pool.disconnect()


async def dumps(r, key):
    raw = redis.Redis(host=HOST, port=PORT)
    await raw.zadd(key, {"a": 1.5, "b": 2})
    payload = await raw.dump(key)
    assert await raw.restore(key + ":copy", 50_000, payload) in (b"OK", True)
    assert await raw.zrange(key + ":copy", 0, -1, withscores=True) in (
        [(b"a", 1.5), (b"b", 2.0)], [[b"a", 1.5], [b"b", 2.0]],
    )
    assert 0 < await raw.pttl(key + ":copy") <= 50_000
    await raw.aclose()


async def main():
    for protocol in (2, 3):
        r = connect(protocol)
        for case in (pipelines, pubsub, locks, pools, dumps):
            try:
                await case(r, f"async{protocol}:{case.__name__}")
            except Exception:
                print(f"{case.__name__} over RESP{protocol}:")
                traceback.print_exc(file=sys.stdout)
        await r.aclose()


asyncio.run(main())
