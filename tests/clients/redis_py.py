"""redis-py against a running larder, over RESP2 and RESP3: `python redis_py.py HOST PORT`. Prints failures only."""

import sys
import threading
import traceback

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

HOST, PORT = sys.argv[1], int(sys.argv[2])


def connect(protocol, **more):
    """A client that tells at once: the default tries a wrong password again and again."""
    once = Retry(NoBackoff(), 0)
    settings = {"host": HOST, "port": PORT, "decode_responses": True, "socket_timeout": 30, "retry": once}
    return redis.Redis(protocol=protocol, **settings, **more)


def values(protocol):
    r = connect(protocol)
    key = f"py{protocol}:"
    assert r.set(key + "text", "hé", ex=100) is True
    assert r.get(key + "text") == "hé"
    assert 0 < r.ttl(key + "text") <= 100
    assert r.set(key + "text", "x", nx=True) is None
    assert r.get(key + "absent") is None
    assert r.set(key + "text", "new", get=True) == "hé"
    r.delete(key + "count")
    assert r.incr(key + "count", 5) == 5
    assert r.mset({key + "m1": 1, key + "m2": 2}) is True
    assert r.mget(key + "m1", key + "absent", key + "m2") == ["1", None, "2"]
    assert r.rpush(key + "list", "a", "b", "c") == 3
    assert r.lrange(key + "list", 0, -1) == ["a", "b", "c"]
    assert r.lpop(key + "list", 2) == ["a", "b"]
    assert r.delete(key + "list", key + "m1", key + "absent") == 2
    assert r.exists(key + "m2") == 1
    assert r.type(key + "m2") == "string"
    assert r.expire(key + "m2", 60) is True and r.persist(key + "m2") is True
    assert r.info("server")["redis_mode"] == "standalone"


def bytes_survive(protocol):
    r = redis.Redis(host=HOST, port=PORT, protocol=protocol)
    every = bytes(range(256)) * 4096
    r.set(b"py:\x00\xff\r\n", every)
    assert r.get(b"py:\x00\xff\r\n") == every


def pipelines(protocol):
    r = connect(protocol)
    key = f"py{protocol}:p"
    with r.pipeline(transaction=False) as pipe:
        for n in range(1000):
            pipe.set(key, n).get(key)
        results = pipe.execute()
    assert results[1::2] == [str(n) for n in range(1000)], results[:10]
    with r.pipeline(transaction=True) as pipe:
        assert pipe.set(key, 1).incr(key).get(key).execute() == [True, 2, "2"]
    with r.pipeline(transaction=False) as pipe:
        results = pipe.lpush(key, "x").get(key).execute(raise_on_error=False)
    assert isinstance(results[0], redis.ResponseError) and results[1] == "2", results


def watch(protocol):
    r, other = connect(protocol), connect(protocol)
    key = f"py{protocol}:watched"
    r.set(key, 1)
    with r.pipeline() as pipe:
        pipe.watch(key)
        value = int(pipe.get(key))
        other.set(key, 10)
        pipe.multi()
        pipe.set(key, value + 1)
        try:
            pipe.execute()
            raise AssertionError("a change was not seen")
        except redis.WatchError:
            pass
    assert r.get(key) == "10"

    def step(pipe):
        pipe.multi()
        pipe.incr(key)

    assert r.transaction(step, key) == [11]


def pubsub(protocol):
    r = connect(protocol)
    channel = f"py{protocol}:news"
    with connect(protocol).pubsub() as subscriber:
        subscriber.subscribe(channel)
        assert subscriber.get_message(timeout=30)["type"] == "subscribe"
        for n in range(10):
            assert r.publish(channel, n) == 1
        heard = [subscriber.get_message(timeout=30)["data"] for _ in range(10)]
        assert heard == [str(n) for n in range(10)], heard
        subscriber.unsubscribe(channel)
        assert subscriber.get_message(timeout=30)["type"] == "unsubscribe"
    assert r.publish(channel, "nobody") == 0


def blocking(protocol):
    key = f"py{protocol}:queue"
    popped = []
    worker = threading.Thread(target=lambda: popped.append(connect(protocol).blpop([key + "x", key], timeout=20)))
    worker.start()
    connect(protocol).rpush(key, "job")
    worker.join()
    assert [list(each) for each in popped] == [[key, "job"]], popped
    assert connect(protocol).blpop(key, timeout=0.05) is None


def streams(protocol):
    r = connect(protocol)
    key = f"py{protocol}:stream"
    r.delete(key)
    ids = [r.xadd(key, {"n": n}, id=f"{n}-1") for n in range(1, 7)]
    r.xgroup_create(key, "g", id="0")
    r.xreadgroup("g", "alice", {key: ">"}, count=4)
    assert r.xack(key, "g", ids[0]) == 1
    assert r.xdelex(key, *ids, ref_policy="ACKED") == [1, 2, 2, 2, 2, 2]
    assert r.xackdel(key, "g", ids[1], ids[4], ref_policy="DELREF") == [1, -1]
    assert r.xdelex(key, ids[2], ref_policy="DELREF") == [1]
    assert r.xpending(key, "g")["pending"] == 1
    assert r.xtrim(key, maxlen=0, approximate=False, ref_policy="ACKED") == 0
    r.xadd(key, {"n": 7}, id="7-1", maxlen=1, approximate=False, ref_policy="DELREF")
    assert r.xlen(key) == 1 and r.xpending(key, "g")["pending"] == 0
    payload = redis.Redis(host=HOST, port=PORT, protocol=protocol).dump(key)
    assert r.restore(key + ":copy", 0, payload) and r.xlen(key + ":copy") == 1
    r.delete(key + ":copy")


def errors(protocol):
    r = connect(protocol)
    key = f"py{protocol}:wrong"
    r.rpush(key, "a")
    refused(redis.ResponseError, "WRONGTYPE", lambda: r.get(key))
    refused(redis.ResponseError, "unknown command", lambda: r.execute_command("NOSUCHCOMMAND"))
    refused(redis.AuthenticationError, "", lambda: connect(protocol, username="u", password="wrong").get(key))
    assert connect(protocol, password="larder-dev-token").llen(key) == 1


def scanning(protocol):
    r = connect(protocol)
    wanted = {f"py{protocol}:scan:{n}" for n in range(50)}
    for key in wanted:
        r.set(key, 1)
    assert set(r.scan_iter(match=f"py{protocol}:scan:*", count=7)) == wanted


def refused(kind, words, attempt):
    try:
        answer = attempt()
    except kind as error:
        assert words in str(error), error
    else:
        raise AssertionError(f"not refused: {answer!r}")


failed = False
for protocol in (2, 3):
    for case in (values, bytes_survive, pipelines, watch, pubsub, blocking, streams, errors, scanning):
        try:
            case(protocol)
        except Exception:
            failed = True
            print(f"RESP{protocol}, {case.__name__}:\n{traceback.format_exc()}")
sys.exit(failed)
