"""redis-py's `r.json()` against a running larder, and the same calls against fakeredis, which is another's reading of
RedisJSON: `python redis_json.py HOST PORT`. Prints failures only.

What fakeredis does otherwise is left out where it is known: it counts characters where RedisJSON counts bytes, knows no
positions before the first element, and clears what is already clear."""

import random
import sys
import traceback

import fakeredis
import redis
from redis.backoff import NoBackoff
from redis.commands.json.path import Path
from redis.retry import Retry

HOST, PORT = sys.argv[1], int(sys.argv[2])
SEED, ROUNDS = 20260728, 400


def connect(protocol):
    once = Retry(NoBackoff(), 0)
    settings = {"decode_responses": True, "socket_timeout": 30, "retry": once}
    return redis.Redis(host=HOST, port=PORT, protocol=protocol, **settings)


def refused(call, *texts):
    try:
        answer = call()
    except redis.ResponseError as error:
        assert any(text in str(error) for text in texts), str(error)
    else:
        raise AssertionError(f"{answer!r} instead of {texts}")


def documents(protocol):
    r = connect(protocol)
    key = f"json{protocol}"
    document = {"name": "Ada", "age": 36, "tags": ["a", "b"], "deep": {"age": 1.5, "none": None}}
    assert r.json().set(key, "$", document) is True
    assert r.json().get(key) == document
    assert r.json().get(key, "$") == [document]
    assert r.json().get(key, "$..age") == [36, 1.5]
    assert r.json().get(key, "$.name", ".age") == {"$.name": ["Ada"], ".age": [36]}
    assert r.json().get(key, Path(".tags[1]")) == "b"
    assert r.json().set(key, "$.age", 37, nx=True) is None
    assert r.json().set(key, "$.age", 37, xx=True) is True
    assert r.json().numincrby(key, "$.age", 2) == [39]
    assert r.json().numincrby(key, "$.deep.age", 0.25) == [1.75]
    assert r.json().strappend(key, " L.", "$.name") == [6]
    assert r.json().strlen(key, "$.name") == [6]
    assert r.json().arrappend(key, "$.tags", "c", {"d": 1}) == [4]
    assert r.json().arrindex(key, "$.tags", "c") == [2]
    assert r.json().arrinsert(key, "$.tags", 1, "x") == [5]
    assert r.json().arrlen(key, "$.tags") == [5]
    assert r.json().arrpop(key, "$.tags") == [{"d": 1}]
    assert r.json().arrpop(key, "$.tags", 0) == ["a"]
    assert r.json().arrtrim(key, "$.tags", 1, -1) == [2]
    assert r.json().get(key, "$.tags") == [["b", "c"]]
    assert r.json().objkeys(key, "$.deep") == [["age", "none"]]
    assert r.json().objlen(key, "$") == [4]
    assert r.json().toggle(key, "$.name") == [None]
    assert r.json().type(key, "$.age") == ([["integer"]] if protocol == 3 else ["integer"])
    assert r.json().merge(key, "$", {"deep": {"none": 5, "age": None}}) is True
    assert r.json().get(key, "$.deep") == [{"none": 5}]
    assert r.json().clear(key, "$.tags") == 1
    assert r.json().delete(key, "$.tags") == 1
    assert r.json().mset([(key, "$.age", 1), (key + "b", "$", {"age": 2})]) is True
    assert r.json().mget([key, key + "b", "absent"], "$.age") == [[1], [2], None]
    assert r.type(key) == "ReJSON-RL"
    assert r.json().delete(key) == 1 and r.exists(key) == 0
    refused(lambda: r.json().set("new", "$.a", 1), "new objects must be created at the root")
    r.set(key, "text")
    refused(lambda: r.json().get(key), "Existing key has wrong Redis type")
    refused(lambda: r.lpush(key + "b", 1), "WRONGTYPE")


def transactions(protocol):
    r = connect(protocol)
    key = f"json{protocol}:multi"
    with r.pipeline(transaction=True) as pipe:
        pipe.execute_command("JSON.SET", key, "$", '{"n":1}')
        pipe.execute_command("JSON.NUMMULTBY", key, "$.n", "5")
        pipe.execute_command("JSON.GET", key)
        answers = pipe.execute()
    assert answers[2] == '{"n":5}', answers
    script = "redis.call('JSON.SET', KEYS[1], '.n', '[1]') return redis.call('JSON.ARRLEN', KEYS[1], '.n')"
    assert r.eval(script, 1, key) == 1


class Random:
    """Calls of commands and paths that both sides know."""

    PATHS = ["$", "$.a", "$.b", "$.a.b", "$.a.c", "$..a", "$..b", "$.*", "$.a[0]", "$.a[1]", "$.b[0:2]", "$.c.a", ".a", ".b"]

    def __init__(self, seed):
        self.random = random.Random(seed)

    def value(self, depth=0):
        kind = self.random.randrange(5 if depth > 2 else 8)
        if kind < 5:
            return [None, True, self.random.randrange(-9, 99), "text", 0.5][kind]
        if kind == 5:
            return [self.value(depth + 1) for _ in range(self.random.randrange(4))]
        return {name: self.value(depth + 1) for name in self.random.sample("abc", self.random.randrange(4))}

    def call(self, key):
        import json

        pick, path = self.random.choice, self.random.choice(self.PATHS)
        value = json.dumps(self.value(), separators=(",", ":"))
        return pick(
            [
                ("JSON.SET", key, "$", value),
                ("JSON.SET", key, pick(["$", "$.a", "$.b", "$.a.b", "$.c"]), value),
                ("JSON.SET", key, pick(["$.a", "$.b"]), value, pick(["NX", "XX"])),
                ("JSON.GET", key, path),
                ("JSON.GET", key),
                ("JSON.MGET", key, "absent", pick(["$.a", "$..b"])),
                ("JSON.TYPE", key, path),
                ("JSON.ARRAPPEND", key, path, value),
                ("JSON.ARRINSERT", key, path, "0", value),
                ("JSON.ARRLEN", key, path),
                ("JSON.STRLEN", key, path),
                ("JSON.OBJLEN", key, path),
                ("JSON.OBJKEYS", key, path),
                ("JSON.STRAPPEND", key, path, '"x"'),
                ("JSON.TOGGLE", key, path),
                ("JSON.DEL", key, pick(["$.a", "$.b", "$.a.b", "$.c"])),
            ]
        )


def answer(client, call):
    try:
        return client.execute_command(*call)
    except redis.ResponseError:
        return "refused"


def differential(protocol):
    import json

    ours = connect(protocol)
    theirs = fakeredis.FakeRedis(decode_responses=True, protocol=protocol)
    calls = Random(SEED + protocol)
    key = f"json{protocol}:random"
    ours.delete(key)
    for at in range(ROUNDS):
        call = calls.call(key)
        one, other = answer(ours, call), answer(theirs, call)
        if isinstance(one, str) and isinstance(other, str) and one[:1] in "[{":
            one, other = json.loads(one), json.loads(other)
        assert one == other, f"call {at} of seed {SEED + protocol}: {call}: {one!r}, by fakeredis {other!r}"


def main():
    failed = False
    for check in [documents, transactions, differential]:
        for protocol in [2, 3]:
            try:
                check(protocol)
            except Exception:
                failed = True
                print(f"{check.__name__} over RESP{protocol}:")
                traceback.print_exc(file=sys.stdout)
    sys.exit(failed)


main()
