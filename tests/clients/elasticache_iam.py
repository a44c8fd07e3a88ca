"""ElastiCache IAM logins as AWS documents them: `python elasticache_iam.py HOST PORT KEY SECRET`. Prints failures only.

The token is made by botocore's own signer, and given to redis-py by a credential provider, as in the ElastiCache guide.
"""

import sys
import traceback
from urllib.parse import urlencode, urlunparse, ParseResult

import botocore.session
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from botocore.credentials import Credentials
from botocore.model import ServiceId
from botocore.signers import RequestSigner

HOST, PORT, KEY, SECRET = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]


class ElastiCacheIAMProvider(redis.CredentialProvider):
    def __init__(self, user, cache_name, is_serverless=False, secret=SECRET, region="us-east-1", expires=900):
        self.user, self.cache_name, self.is_serverless = user, cache_name, is_serverless
        self.expires, self.region = expires, region
        # The signer holds its session's events weakly.
        self.session = session = botocore.session.get_session()
        self.request_signer = RequestSigner(
            ServiceId("elasticache"), region, "elasticache", "v4", Credentials(KEY, secret),
            session.get_component("event_emitter"),
        )

    def get_credentials(self):
        query_params = {"Action": "connect", "User": self.user}
        if self.is_serverless:
            query_params["ResourceType"] = "ServerlessCache"
        url = urlunparse(
            ParseResult("https", self.cache_name, "/", "", urlencode(query_params), "")
        )
        signed_url = self.request_signer.generate_presigned_url(
            {"method": "GET", "url": url, "body": {}, "headers": {}, "context": {}},
            operation_name="connect", expires_in=self.expires, region_name=self.region,
        )
        return self.user, signed_url.removeprefix("https://")


def client(provider, protocol=2):
    # RESP3 logs in by HELLO, RESP2 by AUTH.
    return redis.Redis(
        HOST, PORT, ssl=True, ssl_cert_reqs="none", credential_provider=provider, protocol=protocol, retry=Retry(NoBackoff(), 0)
    )


def works(cache, **more):
    for protocol in (2, 3):
        it = client(ElastiCacheIAMProvider("iam-app", cache, **more), protocol)
        assert it.set("app:k", "v") and it.get("app:k") == b"v"
        assert it.client_info()["user"] == "iam-app"
        try:
            it.get("other")
            raise AssertionError("a key that the access string does not hold was read")
        except redis.exceptions.NoPermissionError:
            pass
        it.close()


def fails(provider, names="WRONGPASS|invalid username-password"):
    try:
        client(provider).ping()
    except redis.exceptions.AuthenticationError as error:
        assert any(name in str(error) for name in names.split("|")), error
        return
    raise AssertionError("was let in")


def a_replication_group():
    works("default")


def what_is_wrong_is_refused():
    fails(ElastiCacheIAMProvider("iam-app", "default", secret="wrong"))
    fails(ElastiCacheIAMProvider("iam-app", "elsewhere"))
    fails(ElastiCacheIAMProvider("iam-app", "default", is_serverless=True))
    fails(ElastiCacheIAMProvider("iam-app", "default", region="eu-west-1"))
    fails(ElastiCacheIAMProvider("iam-app", "default", expires=3600))
    fails(ElastiCacheIAMProvider("nobody", "default"))
    fails(ElastiCacheIAMProvider("password-app", "default"))


def not_inside_a_transaction():
    it = client(ElastiCacheIAMProvider("iam-app", "default"))
    with it.pipeline() as pipe:
        user, token = ElastiCacheIAMProvider("iam-app", "default").get_credentials()
        pipe.execute_command("AUTH", user, token)
        replies = pipe.execute(raise_on_error=False)
        assert "MULTI" in str(replies[0]), replies
    assert it.execute_command("AUTH", user, token)


failed = False
for case in (a_replication_group, what_is_wrong_is_refused, not_inside_a_transaction):
    try:
        case()
    except Exception:
        failed = True
        print(f"{case.__name__}:\n{traceback.format_exc()}")
sys.exit(failed)
