"""botocore's own signer against a running larder: `python sigv4.py HOST:PORT KEY SECRET`. Prints failures only.

Requests go out by http.client with the very target that was signed: nothing between tidies the path.
"""

import http.client
import json
import sys
import traceback
from urllib.parse import quote, urlsplit

from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

HOST = sys.argv[1]
CREDENTIALS = Credentials(sys.argv[2], sys.argv[3])
# A pre-signed URL has no body: botocore would move it into the query. Bodies are signed in the head.
KEYS = ["plain", "a b", "é€", "ключ", "a/b", "a//b", "a%2Fb", "a+b", "a~b", "%", "a:b@c", "a?b#c", "a&b=c", "..", "'\"\\<>{}|^`", "x" * 1000]


def header(request):
    SigV4Auth(CREDENTIALS, "elasticache", "us-east-1").add_auth(request)


def url(request):
    SigV4QueryAuth(CREDENTIALS, "elasticache", "us-east-1", expires=60).add_auth(request)


def send(sign, method, target, body=b"", headers=None):
    request = AWSRequest(method, f"http://{HOST}{target}", headers=headers or {}, data=body)
    sign(request)
    parts = urlsplit(request.url)
    connection = http.client.HTTPConnection(HOST, timeout=30)
    connection.putrequest(method, f"{parts.path}?{parts.query}" if parts.query else parts.path, skip_accept_encoding=True)
    for name, value in request.headers.items():
        connection.putheader(name, value)
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def is_(wanted, got):
    assert got == wanted, f"wanted {wanted}, got {got}"


def escaped(key):
    """The key as one path segment: two dots would be a step up."""
    return quote(key, safe="~").replace(".", "%2E")


def resource(sign, key):
    target = f"/v1/caches/default/keys/{escaped(key)}"
    value = f"value of {key}".encode()
    is_((204, b""), send(header, "PUT", target + "?ttl_ms=60000", value))
    is_((200, value), send(sign, "GET", target))
    is_((200, b""), send(sign, "HEAD", target))
    command(["GET", key], value.decode())
    is_((204, b""), send(sign, "DELETE", target))
    is_(404, send(sign, "GET", target)[0])


def command(words, wanted):
    status, content = send(header, "POST", "/", json.dumps(words).encode())
    is_((200, {"result": wanted}), (status, json.loads(content)))


def commands(sign, key):
    path = escaped(key)
    command(["SET", key, "v"], "OK")
    is_((200, b'{"result":"v"}'), send(sign, "GET", f"/get/{path}"))
    is_((200, b'{"result":"OK"}'), send(header, "POST", f"/set/{path}?EX=100", b"from the body"))
    is_((200, b'{"result":"from the body"}'), send(sign, "GET", f"/caches/default/get/{path}"))
    is_((200, b'{"result":"OK"}'), send(sign, "POST", f"/set/{path}/from%20the%20path"))
    pipeline = json.dumps([["GET", key], ["DEL", key]]).encode()
    is_((200, b'[{"result":"from the path"},{"result":1}]'), send(header, "POST", "/pipeline", pipeline))


def queries(sign, key):
    prefix = quote(key, safe="~")
    body = b'{"data":{"n":1},"ttl_ms":60000}'
    status, content = send(header, "POST", f"/v1/caches/default/sessions?prefix={prefix}", body)
    is_(201, status)
    session = json.loads(content)["id"]
    is_(200, send(sign, "GET", f"/v1/caches/default/sessions/{session}?prefix={prefix}")[0])


def changed(sign, key):
    """What was not signed is not believed."""
    target = f"/v1/caches/default/keys/{escaped(key)}"

    def other_path(request):
        sign(request)
        request.url = request.url.replace("/keys/", "/keys/x")

    is_(401, send(other_path, "GET", target)[0])
    is_(401, send(lambda request: signed_by("wrong", sign, request), "GET", target)[0])


def signed_by(secret, sign, request):
    kind = SigV4Auth if sign is header else SigV4QueryAuth
    kind(Credentials(sys.argv[2], secret), "elasticache", "us-east-1").add_auth(request)


failed = False
for sign in (header, url):
    for case in (resource, commands, queries, changed):
        for key in KEYS:
            try:
                case(sign, key)
            except Exception:
                failed = True
                print(f"{sign.__name__}, {case.__name__}, {key!r}:\n{traceback.format_exc()}")
sys.exit(failed)
