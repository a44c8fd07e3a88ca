"""A fakeredis that speaks RESP over TCP to one client after the other: prints its port, and serves until its standard
input ends. fakeredis has such a server itself, which hangs up where fakeredis fails: here that is an error as others."""

import socket
import sys
import threading

import fakeredis
from fakeredis._clients._tcp_server import encode_reply


class Fake:
    """A connection to what the fake server holds."""

    def __init__(self):
        self.server = fakeredis.FakeServer(server_type="redis", version=(8, 2))
        self.connect(2)

    def connect(self, protocol):
        self.protocol = protocol
        pool = fakeredis.FakeRedis(server=self.server, protocol=protocol).connection_pool
        self.connection = pool.get_connection()

    def answer(self, words):
        if words[0].upper() == b"HELLO":
            self.connect(int(words[1]))
            return b"+OK\r\n"
        try:
            self.connection.send_command(*words)
            reply = self.connection.read_response(disable_decoding=True)
            return encode_reply(reply, self.protocol)
        except fakeredis._typing.RaiseErrorTypes as error:
            return encode_reply(error, self.protocol)
        except Exception as error:  # a fault of fakeredis, after which the connection is of no more use
            self.connect(self.protocol)
            return b"-ERR %s\r\n" % type(error).__name__.encode()


def requests(stream):
    while line := stream.readline():
        words = []
        for _ in range(int(line[1:])):
            length = int(stream.readline()[1:])
            words.append(stream.read(length + 2)[:-2])
        yield words


def serve(listener):
    while True:
        client, _ = listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        fake = Fake()
        with client, client.makefile("rwb") as stream:
            for words in requests(stream):
                stream.write(fake.answer(words))
                stream.flush()


listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=serve, args=[listener], daemon=True).start()
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
