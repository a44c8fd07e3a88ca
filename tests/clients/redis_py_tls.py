"""redis-py over TLS and over a Unix socket: `python redis_py_tls.py HOST PORT CERTIFICATE SOCKET`. Prints failures only."""

import sys
import traceback

import redis

HOST, PORT, CERTIFICATE, SOCKET = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
BIG = b"x" * 8_000_000


def tls(**more):
    return redis.Redis(HOST, PORT, ssl=True, ssl_ca_certs=CERTIFICATE, **more)


def unix(**more):
    return redis.Redis(unix_socket_path=SOCKET, **more)


def large_values_go_both_ways(client):
    assert client.set("big", BIG) and client.get("big") == BIG
    pipe = client.pipeline(transaction=False)
    for n in range(3000):
        pipe.set(f"k{n}", f"{n}" * 100)
    for n in range(3000):
        pipe.get(f"k{n}")
    for _ in range(5):
        pipe.get("big")
    replies = pipe.execute()
    assert replies[3000:6000] == [(f"{n}" * 100).encode() for n in range(3000)]
    assert all(reply == BIG for reply in replies[6000:])


def transactions_and_scripts(client):
    with client.pipeline() as pipe:
        pipe.watch("n")
        pipe.multi()
        pipe.set("n", 1).incr("n")
        assert pipe.execute() == [True, 2]
    assert client.eval("return redis.call('INCR', KEYS[1])", 1, "n") == 3


def messages_arrive(client):
    listener = client.pubsub(ignore_subscribe_messages=True)
    listener.subscribe("news")
    listener.get_message(timeout=5)
    for n in range(100):
        assert client.publish("news", n) == 1
    assert [listener.get_message(timeout=5)["data"] for _ in range(100)] == [b"%d" % n for n in range(100)]
    listener.close()


def blocked_clients_are_served(client):
    pusher = tls()
    waiting = client.connection_pool.get_connection()
    waiting.send_command("BLPOP", "queue", 10)
    while pusher.info("clients")["blocked_clients"] != 1:
        pass
    pusher.rpush("queue", "job")
    assert waiting.read_response() == [b"queue", b"job"]
    client.connection_pool.release(waiting)


failed = False
for make in (tls, unix):
    for protocol in (2, 3):
        for case in (large_values_go_both_ways, transactions_and_scripts, messages_arrive, blocked_clients_are_served):
            try:
                client = make(protocol=protocol)
                client.flushall()
                case(client)
                client.close()
            except Exception:
                failed = True
                print(f"{make.__name__}, RESP{protocol}, {case.__name__}:\n{traceback.format_exc()}")
sys.exit(failed)
