# SPDX-License-Identifier: Apache-2.0
"""POST /oauth2/token: what a client gets, and every row of DESIGN's table of errors."""
import base64
import json
import socket
import time
import urllib.parse

import pytest
from conftest import basic, new_site, split_responses, wait_until
from jwcrypto import jwk, jws

FORM = "application/x-www-form-urlencoded"
CANARY = "canary7531"  # in every bad input, and in no answer


class World:
    """One server, and a key of every kind."""

    def __init__(self, site):
        self.site = site
        self.key = site.demo()
        self.reader = site.key(scopes=["data:read"], name="reader")
        self.admin = site.key(scopes=["cardea.admin"], name="admin")
        self.broad = site.key(name="two audiences", options=["--audience", "https://a.example/", "--audience", "b"])
        self.claims = site.key(name="claims", options=["--claims", '{"region":"eu","limits":{"n":[1,2]}}'])
        self.quick = site.key(name="short tokens", options=["--token-ttl", "60"])
        self.disabled = site.key(name="disabled", options=["--disabled"])
        self.expired = site.key(name="expired")
        site.sql("UPDATE api_key SET expires_at = now() - interval '1 second' WHERE key_id = %s",
                 self.expired["key_id"])
        self.deleted = site.key(name="deleted")
        site.cli("key", "delete", self.deleted["key_id"])
        self.elsewhere = site.key(name="elsewhere", options=["--allowed-cidr", "192.0.2.0/24"])
        self.here = site.key(name="here", options=["--allowed-cidr", "127.0.0.0/8", "--allowed-cidr", "::1/128"])
        site.tenant("closed")
        self.orphan = site.key("closed", name="of a disabled tenant")
        site.cli("tenant", "disable", "closed")
        site.tenant("other")
        self.foreign = site.key("other", name="of another tenant")
        self.server = site.start()

    def claims_of(self, key, **form):
        return self.read(self.server.access_token(key, **form))

    def read(self, token):
        """The claims, after the signature was checked by another library than ours."""
        signed = jws.JWS()
        signed.deserialize(token)
        keys = jwk.JWKSet.from_json(self.server.get("/.well-known/jwks.json").body)
        signed.verify(keys.get_key(signed.jose_header["kid"]))
        return json.loads(signed.payload)


@pytest.fixture(scope="module")
def world(server):
    with new_site(server) as site:
        yield World(site)


# --- tokens -------------------------------------------------------------------------------------


def test_answer(world):
    answer = world.server.token(world.key)
    assert answer.status == 200
    assert answer.header("Content-Type") == "application/json"
    assert answer.header("Cache-Control") == "no-store"
    assert answer.header("Pragma") == "no-cache"
    body = answer.json()
    assert set(body) == {"access_token", "token_type", "expires_in", "scope"}
    assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", 600, "data:read data:write")


def test_claims(world):
    before = int(time.time())
    token = world.server.access_token(world.key)
    claims = world.read(token)
    head = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))
    assert set(head) == {"alg", "typ", "kid"} and (head["alg"], head["typ"]) == ("ES256", "at+jwt")
    assert set(claims) == {"iss", "sub", "client_id", "aud", "iat", "exp", "jti", "scope", "tenant"}
    assert claims["iss"] == world.site.issuer
    assert claims["sub"] == claims["client_id"] == world.key["key_id"]
    assert claims["aud"] == world.site.issuer + "/api"
    assert (claims["scope"], claims["tenant"]) == ("data:read data:write", "acme")
    assert type(claims["iat"]) is int and before <= claims["iat"] <= time.time()
    assert type(claims["exp"]) is int and claims["exp"] - claims["iat"] == 600
    assert "=" not in token


def test_jti_is_random(world):
    ids = [world.claims_of(world.key)["jti"] for _ in range(50)]
    assert len(set(ids)) == 50
    assert all(len(base64.urlsafe_b64decode(i + "==")) == 16 for i in ids)


def test_signature_has_full_width(world):
    """R and S are padded: short ones come up once in 128 signatures."""
    for _ in range(300):
        token = world.server.access_token(world.reader)
        assert len(base64.urlsafe_b64decode(token.split(".")[2] + "==")) == 64


def test_post(world):
    assert world.server.token(world.key, post=True).status == 200


def test_basic_with_the_same_client_id(world):
    assert world.server.token(world.key, client_id=world.key["key_id"]).status == 200


def every_byte_quoted(text):
    return "".join(f"%{byte:02X}" for byte in text.encode())


@pytest.mark.parametrize("header", [
    lambda k: "Basic " + base64.b64encode(f"{k['key_id']}:{k['secret']}".encode()).decode(),
    lambda k: "basic " + base64.b64encode(f"{k['key_id']}:{k['secret']}".encode()).decode(),
    lambda k: "BASIC   " + base64.b64encode(f"{k['key_id']}:{k['secret']}".encode()).decode(),
    lambda k: "Basic " + base64.b64encode(f"{k['key_id']}:{k['secret']}".encode()).decode().rstrip("="),
    lambda k: "Basic " + base64.b64encode(
        f"{k['key_id'].replace('_', '%5F')}:{k['secret'].replace('_', '%5f')}".encode()).decode(),
    lambda k: "Basic " + base64.b64encode(
        f"{every_byte_quoted(k['key_id'])}:{every_byte_quoted(k['secret'])}".encode()).decode(),
], ids=["plain", "lower case", "spaces", "unpadded", "underscore encoded", "all encoded"])
def test_basic_forms(world, header):
    assert world.server.token(world.key, headers={"Authorization": header(world.key)}).status == 200


@pytest.mark.parametrize("content_type", [
    FORM, FORM.upper(), FORM + ";charset=UTF-8", FORM + "; charset=utf-8", FORM + ' ; charset="utf-8"'])
def test_content_types(world, content_type):
    assert world.server.token(world.key, headers={"Content-Type": content_type}).status == 200


@pytest.mark.parametrize("asked, granted", [
    (None, "data:read data:write"), ("", "data:read data:write"), ("data:read", "data:read"),
    ("data:write", "data:write"), ("data:write data:read", "data:read data:write"),
    ("data:read data:write", "data:read data:write")])
def test_scopes(world, asked, granted):
    answer = world.server.token(world.key, scope=asked).json()
    assert answer["scope"].split() == granted.split() or set(answer["scope"].split()) == set(granted.split())
    assert world.read(answer["access_token"])["scope"] == answer["scope"]


def test_repeated_scope_is_granted_once(world):
    answer = world.server.token(world.key, scope="data:read data:read")
    assert answer.status == 400 or answer.json()["scope"] == "data:read"


def test_unknown_parameters_are_ignored(world):
    assert world.server.token(world.key, foo="bar", **{"": "", "nonce": "\u00e9"}).status == 200


@pytest.mark.parametrize("body", [
    "grant_type=client_credentials&", "&&grant_type=client_credentials&&", "grant_type=client_credentials&x",
    "%67rant_type=client%5Fcredentials", "grant_type=client_credentials&scope=data%3Aread+data:write"])
def test_form_encodings(world, body):
    assert world.server.token(world.key, body=body).status == 200


def test_hundred_parameters(world):
    body = "grant_type=client_credentials&" + "&".join(f"p{n}={n}" for n in range(99))
    assert world.server.token(world.key, body=body).status == 200
    assert world.server.token(world.key, body=body + "&p99=99").status == 400


def test_body_of_16_kib(world):
    body = "grant_type=client_credentials&x="
    assert world.server.token(world.key, body=body + "a" * (16384 - len(body))).status == 200
    assert world.server.token(world.key, body=body + "a" * (16385 - len(body))).status == 413


@pytest.mark.parametrize("form, audience", [
    ({}, ["https://a.example/", "b"]), ({"audience": "b"}, "b"), ({"resource": "https://a.example/"}, "https://a.example/"),
    ({"resource": ["https://a.example/"] * 2}, "https://a.example/"), ({"resource": ["https://a.example/"] * 9}, "https://a.example/"),
    ({"resource": "https://a.example/", "audience": "b"}, ["https://a.example/", "b"]), ({"audience": ""}, ["https://a.example/", "b"])])
def test_audiences(world, form, audience):
    got = world.claims_of(world.broad, **form)["aud"]
    assert sorted(got) == sorted(audience) if isinstance(audience, list) else got == audience


def test_audience_of_the_server(world):
    assert world.claims_of(world.key, resource=world.site.issuer + "/api")["aud"] == world.site.issuer + "/api"


def test_management_token(world):
    claims = world.claims_of(world.admin)
    assert (claims["aud"], claims["scope"]) == (world.site.issuer, "cardea.admin")
    assert world.claims_of(world.admin, resource=world.site.issuer)["aud"] == world.site.issuer
    assert world.server.token(world.admin, resource=world.site.issuer + "/api").status == 400


def test_own_claims(world):
    claims = world.claims_of(world.claims)
    assert claims["region"] == "eu" and claims["limits"] == {"n": [1, 2]}


WIDE = [f"{n:02}" + "&" * 126 for n in range(64)]  # six bytes of JSON text for each of them
TARGETS = [f"urn:{n}:" + "&" * 249 for n in range(8)]


def test_largest_token(world):
    """As many scopes and audiences as a key may have, as long as they may be, and longer still as JSON text."""
    world.site.sql("INSERT INTO scope (name, title) SELECT unnest(%s), 'wide'", WIDE)
    options = [arg for target in TARGETS for arg in ("--audience", target)]
    key = world.site.key(scopes=WIDE, options=[*options, "--claims", json.dumps({"x": "a" * 2000})])
    answer = world.server.token(key)
    assert answer.status == 200, answer
    assert answer.json()["scope"].split(" ") == WIDE
    claims = world.read(answer.json()["access_token"])
    assert claims["scope"].split(" ") == WIDE and claims["aud"] == TARGETS and len(claims["x"]) == 2000


def test_lifetime_of_the_key(world):
    assert world.server.token(world.quick).json()["expires_in"] == 60


def test_token_does_not_outlive_its_key(world):
    key = world.site.key(name="ends soon", expires="40s")
    claims = world.claims_of(key)
    ends = world.site.sql("SELECT extract(epoch FROM expires_at) FROM api_key WHERE key_id = %s", key["key_id"])
    assert 30 <= claims["exp"] - claims["iat"] <= 40
    assert claims["exp"] <= ends[0][0]


def test_key_ends(world):
    key = world.site.key(name="ends at once", expires="2s")
    wait_until(lambda: world.server.token(key).status == 401, "the key has expired", 10)


def test_address_is_allowed(world):
    assert world.server.token(world.here).status == 200


@pytest.mark.tsan
def test_rotated_secret(world):
    old = world.site.key(name="rotated")
    new = world.site.cli_json("key", "rotate", old["key_id"], "--overlap", "1h")
    assert new["secret"] != old["secret"]
    assert [world.server.token(key).status for key in (old, new)] == [200, 200]
    newest = world.site.cli_json("key", "rotate", old["key_id"])
    assert [world.server.token(key).status for key in (old, new, newest)] == [401, 401, 200]


@pytest.mark.tsan
def test_disabled_and_enabled_again(world):
    key = world.site.key(name="switched")
    for verb, status in (("disable", 401), ("enable", 200), ("disable", 401)):
        world.site.cli("key", verb, key["key_id"])
        assert world.server.token(key).status == status


def test_tenant_disabled_and_enabled_again(world):
    world.site.tenant("switched")
    key = world.site.key("switched")
    for verb, status in (("disable", 401), ("enable", 200)):
        world.site.cli("tenant", verb, "switched")
        assert world.server.token(key).status == status


def test_last_used(world):
    key = world.site.key(name="used")
    assert world.site.cli_json("key", "show", key["key_id"])["last_used_at"] is None
    world.server.access_token(key)
    wait_until(lambda: world.site.cli_json("key", "show", key["key_id"])["last_used_at"], "the use is noted")


# --- refusals -----------------------------------------------------------------------------------


def other_secret(key):
    return dict(key, secret=key["secret"][:-1] + ("0" if key["secret"][-1] != "0" else "1"))


def assertion(value="a.b.c", kind="urn:ietf:params:oauth:client-assertion-type:jwt-bearer"):
    return {"client_assertion_type": kind, "client_assertion": value}


def unsigned(key):
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
    return part({"alg": "none"}) + "." + part({"iss": key["key_id"], "sub": key["key_id"]}) + "."


UNKNOWN = {"key_id": "key_" + "a" * 24, "secret": "cardea_" + "A" * 49}
INVALID_CLIENT = {
    "no credentials": lambda w: w.server.token(),
    "wrong secret": lambda w: w.server.token(other_secret(w.key)),
    "wrong secret in the body": lambda w: w.server.token(other_secret(w.key), post=True),
    "empty secret": lambda w: w.server.token(dict(w.key, secret="")),
    "secret with more behind it": lambda w: w.server.token(dict(w.key, secret=w.key["secret"] + "0")),
    "cut secret": lambda w: w.server.token(dict(w.key, secret=w.key["secret"][:-1])),
    "secret in other case": lambda w: w.server.token(dict(w.key, secret=w.key["secret"].swapcase())),
    "secret of 4 KiB": lambda w: w.server.token(dict(w.key, secret="a" * 4096)),
    "another key's secret": lambda w: w.server.token(dict(w.key, secret=w.reader["secret"])),
    "another tenant's secret": lambda w: w.server.token(dict(w.key, secret=w.foreign["secret"])),
    "another tenant's key": lambda w: w.server.token(dict(w.foreign, secret=w.key["secret"])),
    "unknown key": lambda w: w.server.token(UNKNOWN),
    "unknown key in the body": lambda w: w.server.token(UNKNOWN, post=True),
    "malformed key ID": lambda w: w.server.token(dict(w.key, key_id="' OR 1=1 --")),
    "key ID in capitals": lambda w: w.server.token(dict(w.key, key_id=w.key["key_id"].upper())),
    "key ID of the decoy": lambda w: w.server.token(dict(w.key, key_id="-")),
    "decoy's secret": lambda w: w.server.token({"key_id": "-", "secret": "\0".replace("\0", "x") * 32}),
    "empty key ID": lambda w: w.server.token(dict(w.key, key_id="")),
    "only the key ID": lambda w: w.server.token(client_id=w.key["key_id"]),
    "only the secret": lambda w: w.server.token(client_secret=w.key["secret"]),
    "disabled key": lambda w: w.server.token(w.disabled),
    "expired key": lambda w: w.server.token(w.expired),
    "deleted key": lambda w: w.server.token(w.deleted),
    "disabled tenant": lambda w: w.server.token(w.orphan),
    "another address": lambda w: w.server.token(w.elsewhere),
    "forwarded address is not believed":
        lambda w: w.server.token(w.elsewhere, headers={"X-Forwarded-For": "192.0.2.1"}),
    "Bearer": lambda w: w.server.token(headers={"Authorization": "Bearer " + CANARY}),
    "Digest": lambda w: w.server.token(headers={"Authorization": f'Digest username="{CANARY}"'}),
    "Negotiate": lambda w: w.server.token(headers={"Authorization": "Negotiate YII="}),
    "assertion without dots": lambda w: w.server.token(**assertion(CANARY)),
    "assertion of garbage": lambda w: w.server.token(**assertion()),
    "assertion without a signature": lambda w: w.server.token(**assertion(unsigned(w.key))),
    "assertion of an unknown key": lambda w: w.server.token(**assertion(unsigned(UNKNOWN))),
    "assertion of another client": lambda w: w.server.token(client_id=w.reader["key_id"], **assertion(unsigned(w.key))),
    "another kind of assertion": lambda w: w.server.token(**assertion(kind="urn:x")),
    "assertion of 12 KiB": lambda w: w.server.token(**assertion("a" * 12288 + ".b.c")),
    "expired key, scope too wide": lambda w: w.server.token(w.expired, scope="no:such"),
}


@pytest.mark.parametrize("case", INVALID_CLIENT)
def test_invalid_client(world, case):
    answer = INVALID_CLIENT[case](world)
    assert answer.status == 401, answer
    assert answer.json()["error"] == "invalid_client"
    assert answer.header("WWW-Authenticate") == 'Basic realm="cardea", charset="UTF-8"'
    assert answer.header("Cache-Control") == "no-store" and answer.header("Pragma") == "no-cache"
    assert answer.header("X-Request-Id") and answer.header("Date")
    assert answer.stable() == world.server.token().stable()


def encoded(**form):
    return urllib.parse.urlencode({"grant_type": "client_credentials", **form})


GOOD = "grant_type=client_credentials"
INVALID_REQUEST = {
    "no grant_type": dict(body="scope=data%3Aread"),
    "empty grant_type": dict(body="grant_type="),
    "empty body": dict(body=""),
    "grant_type twice": dict(body=f"{GOOD}&{GOOD}"),
    "scope twice": dict(body=f"{GOOD}&scope=data%3Aread&scope=data%3Aread"),
    "empty scope twice": dict(body=f"{GOOD}&scope=&scope="),
    "audience twice": dict(body=f"{GOOD}&audience=a&audience=b"),
    "unknown parameter twice": dict(body=f"{GOOD}&{CANARY}=1&{CANARY}=2"),
    "twice, once encoded": dict(body=f"{GOOD}&a=1&%61=2"),
    "101 parameters": dict(body=GOOD + "".join(f"&p{n}=" for n in range(100))),
    "cut percent": dict(body=f"{GOOD}&{CANARY}=%4"),
    "bad percent": dict(body=f"{GOOD}&{CANARY}=%zz"),
    "percent alone": dict(body=f"{GOOD}&{CANARY}=%"),
    "bad percent in a name": dict(body=f"{GOOD}&%zz=1"),
    "encoded NUL": dict(body=f"{GOOD}&{CANARY}=%00"),
    "NUL": dict(body=f"{GOOD}&{CANARY}=\0"),
    "bad UTF-8": dict(body=f"{GOOD}&{CANARY}=%ff"),
    "overlong UTF-8": dict(body=f"{GOOD}&{CANARY}=%c0%af"),
    "surrogate": dict(body=f"{GOOD}&{CANARY}=%ed%a0%80"),
    "raw bad UTF-8": dict(body=GOOD.encode() + b"&a=\xff"),
    "query string": dict(path="/oauth2/token?" + CANARY),
    "empty query string": dict(path="/oauth2/token?"),
    "credentials in the query": dict(path=f"/oauth2/token?client_id={CANARY}&client_secret=x"),
    "no content type": dict(headers={"Content-Type": None}),
    "JSON": dict(headers={"Content-Type": "application/json"}, body="{}"),
    "multipart": dict(headers={"Content-Type": "multipart/form-data; boundary=x"}),
    "text": dict(headers={"Content-Type": "text/plain"}),
    "another charset": dict(headers={"Content-Type": FORM + "; charset=latin1"}),
    "content type with more behind it": dict(headers={"Content-Type": FORM + "x"}),
    "compressed": dict(headers={"Content-Encoding": "gzip"}),
    "Basic and a secret": dict(body=encoded(client_secret=CANARY)),
    "Basic and both": dict(body=encoded(client_id="key_" + CANARY, client_secret=CANARY)),
    "Basic and another client_id": dict(body=encoded(client_id="key_" + CANARY)),
    "Basic and an assertion": dict(body=encoded(**assertion(CANARY))),
    "secret and assertion": dict(headers={"Authorization": None}, body=encoded(client_secret="x", **assertion(CANARY))),
    "Basic without a colon": dict(headers={"Authorization": "Basic " + base64.b64encode(CANARY.encode()).decode()}),
    "Basic with bad base64": dict(headers={"Authorization": "Basic ***"}),
    "Basic with stray bits": dict(headers={"Authorization": "Basic YTpiY="}),
    "Basic with base64url": dict(headers={"Authorization": "Basic Pz8_Pj4-Og"}),
    "Basic without anything": dict(headers={"Authorization": "Basic"}),
    "Basic with two words": dict(headers={"Authorization": "Basic YTpi YTpi"}),
    "Basic with NUL": dict(headers={"Authorization": "Basic " + base64.b64encode(b"a\0:b").decode()}),
    "Basic with encoded NUL": dict(headers={"Authorization": "Basic " + base64.b64encode(b"a:%00").decode()}),
    "Basic with bad percent": dict(headers={"Authorization": "Basic " + base64.b64encode(b"a:%zz").decode()}),
    "Basic with bad UTF-8": dict(headers={"Authorization": "Basic " + base64.b64encode(b"a:\xff").decode()}),
}


def send(world, path="/oauth2/token", headers=None, body=GOOD):
    merged = {"Authorization": basic(world.key["key_id"], world.key["secret"]), "Content-Type": FORM, **(headers or {})}
    return world.server.request("POST", path, body, {k: v for k, v in merged.items() if v is not None})


def check_refusal(answer, status, error):
    assert answer.status == status, answer
    body = answer.json()
    assert set(body) == {"error", "error_description"} and body["error"] == error
    assert answer.header("Content-Type") == "application/json"
    assert answer.header("Cache-Control") == "no-store" and answer.header("Pragma") == "no-cache"
    assert CANARY not in repr(answer.headers) and CANARY.encode() not in answer.body
    # RFC 6749 §5.2: which characters a description may have.
    assert all(c in "\x20\x21" or "\x23" <= c <= "\x5b" or "\x5d" <= c <= "\x7e" for c in body["error_description"])


@pytest.mark.parametrize("case", INVALID_REQUEST)
def test_invalid_request(world, case):
    check_refusal(send(world, **INVALID_REQUEST[case]), 400, "invalid_request")


def test_two_authorization_headers(world):
    header = basic(world.key["key_id"], world.key["secret"])
    raw = (f"POST /oauth2/token HTTP/1.1\r\nHost: localhost\r\nAuthorization: {header}\r\nAuthorization: {header}\r\n"
           f"Content-Type: {FORM}\r\nConnection: close\r\nContent-Length: {len(GOOD)}\r\n\r\n{GOOD}").encode()
    check_refusal(split_responses(world.server.raw(raw))[0], 400, "invalid_request")


@pytest.mark.parametrize("grant_type", [
    "authorization_code", "password", "refresh_token", "implicit", CANARY, "Client_Credentials", "client_credentials ",
    "urn:ietf:params:oauth:grant-type:jwt-bearer", "urn:ietf:params:oauth:grant-type:token-exchange"])
def test_unsupported_grant_type(world, grant_type):
    check_refusal(world.server.token(world.key, grant_type=grant_type), 400, "unsupported_grant_type")


@pytest.mark.parametrize("scope", [
    "no:such", CANARY, "data:read " + CANARY, "cardea.admin", "data:read cardea.admin", "DATA:READ", " data:read",
    "data:read ", "data:read  data:write", "data:read,data:write", "data:read\tdata:write", 'data:"read', "data:\\read",
    "data:read\n", "d\u00e4ta", " ", "*", "data:*", "a" * 4000])
def test_invalid_scope(world, scope):
    check_refusal(world.server.token(world.key, scope=scope), 400, "invalid_scope")


def test_scope_of_another_key(world):
    check_refusal(world.server.token(world.reader, scope="data:write"), 400, "invalid_scope")


@pytest.mark.parametrize("form", [
    {"audience": CANARY}, {"audience": "https://a.example"}, {"audience": "https://a.example/ b"},
    {"resource": "https://evil.example/" + CANARY}, {"resource": ""}, {"resource": "/relative"}, {"resource": "b"},
    {"resource": "https://a.example/#fragment"}, {"resource": "https://a.example/#"}, {"resource": "https://"},
    {"resource": "https:// a.example/"}, {"resource": "//a.example/"}, {"resource": "https://a.example/%zz"},
    {"resource": ["https://a.example/", "https://evil.example/"]},
    {"resource": [f"https://a.example/{n}" for n in range(20)]}])
def test_invalid_target(world, form):
    check_refusal(world.server.token(world.broad, **form), 400, "invalid_target")


def test_issuer_is_no_audience_of_api_keys(world):
    check_refusal(world.server.token(world.key, audience=world.site.issuer), 400, "invalid_target")
    check_refusal(world.server.token(world.key, resource=world.site.issuer), 400, "invalid_target")


# --- HTTP ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"])
def test_other_methods(world, method):
    answer = world.server.request(method, "/oauth2/token")
    check_refusal(answer, 405, "invalid_request")
    assert answer.header("Allow") == "POST"


def test_head(world):
    answer = world.server.request("HEAD", "/oauth2/token")
    assert (answer.status, answer.body, answer.header("Allow")) == (405, b"", "POST")


@pytest.mark.parametrize("path", ["/oauth2/token/", "/oauth2", "/oauth2/token2", "//oauth2/token", "/OAUTH2/token", "/"])
def test_other_paths(world, path):
    raw = (f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\nConnection: close\r\n"
           f"Content-Length: {len(GOOD)}\r\n\r\n{GOOD}").encode()
    assert split_responses(world.server.raw(raw))[0].status == 404


def head_of(world, target="/oauth2/token", more="", length=len(GOOD)):
    header = basic(world.key["key_id"], world.key["secret"])
    return (f"POST {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {header}\r\nContent-Type: {FORM}\r\n"
            f"{more}Content-Length: {length}\r\n\r\n").encode()


def test_body_too_large(world):
    """The answer arrives although the client is still sending, and then the end of the stream, not a reset."""
    data = world.server.raw(head_of(world, length=1 << 20) + b"a" * (1 << 20))
    answer = split_responses(data)[0]
    check_refusal(answer, 413, "invalid_request")
    assert answer.header("Connection") == "close"


def test_chunked_body_too_large(world):
    head = head_of(world).replace(b"Content-Length: %d" % len(GOOD), b"Transfer-Encoding: chunked")
    data = world.server.raw(head + b"4001\r\n" + b"a" * 0x4001 + b"\r\n0\r\n\r\n")
    check_refusal(split_responses(data)[0], 413, "invalid_request")


def test_chunked_body(world):
    head = head_of(world, more="Connection: close\r\n").replace(b"Content-Length: %d" % len(GOOD),
                                                                b"Transfer-Encoding: chunked")
    data = world.server.raw(head + b"5\r\ngrant\r\n%x;x=y\r\n" % (len(GOOD) - 5) + GOOD[5:].encode() + b"\r\n0\r\n\r\n")
    assert split_responses(data)[0].status == 200


@pytest.mark.parametrize("more", ["X-Big: " + "a" * 16384 + "\r\n", "X-Many: a\r\n" * 101, "X-Big: " + "a" * 1000000 + "\r\n"])
def test_header_too_large(world, more):
    answer = split_responses(world.server.raw(head_of(world, more=more) + GOOD.encode()))[0]
    check_refusal(answer, 431, "invalid_request")
    assert answer.header("Connection") == "close"


@pytest.mark.parametrize("length", [8193, 100000])
def test_target_too_long(world, length):
    raw = head_of(world, target="/" + "a" * (length - 1)) + GOOD.encode()
    check_refusal(split_responses(world.server.raw(raw))[0], 414, "invalid_request")


def test_longest_target(world):
    raw = head_of(world, target="/" + "a" * 8191, more="Connection: close\r\n") + GOOD.encode()
    assert split_responses(world.server.raw(raw))[0].status == 404


def test_largest_header(world):
    head = head_of(world, more="Connection: close\r\n")
    lines = head.split(b"\r\n", 1)[1][:-2]
    filler = b"X-Fill: " + b"a" * (16384 - len(lines) - len(b"X-Fill: \r\n")) + b"\r\n"
    raw = head.replace(b"Host:", filler + b"Host:", 1) + GOOD.encode()
    assert split_responses(world.server.raw(raw))[0].status == 200
    raw = raw.replace(b"X-Fill: a", b"X-Fill: aa", 1)
    assert split_responses(world.server.raw(raw))[0].status == 431


def test_application_errors_keep_the_connection(world):
    bad = head_of(world, length=len(GOOD + "&a=%zz")) + (GOOD + "&a=%zz").encode()
    wrong = bad.replace(basic(world.key["key_id"], world.key["secret"]).encode(), b"Bearer x").replace(b"%zz", b"zzz")
    nowhere = head_of(world, target="/nowhere") + GOOD.encode()
    get = b"GET /oauth2/token HTTP/1.1\r\nHost: localhost\r\n\r\n"
    good = head_of(world, more="Connection: close\r\n") + GOOD.encode()
    answers = split_responses(world.server.raw(bad + wrong + nowhere + get + good))
    assert [answer.status for answer in answers] == [400, 401, 404, 405, 200]
    assert answers[-1].header("Connection") == "close" and answers[0].header("Connection") != "close"


def test_http_1_0(world):
    head = head_of(world).replace(b"HTTP/1.1", b"HTTP/1.0")
    answers = split_responses(world.server.raw(head + GOOD.encode()))
    assert [answer.status for answer in answers] == [200]


def test_expect_continue(world):
    """The client waits with its body until it is told to go on."""
    with socket.create_connection(world.server.address, timeout=30) as sock:
        sock.sendall(head_of(world, more="Expect: 100-continue\r\nConnection: close\r\n"))
        assert sock.recv(1000).startswith(b"HTTP/1.1 100 ")
        sock.sendall(GOOD.encode())
        data = b"".join(iter(lambda: sock.recv(65536), b""))
    assert split_responses(data)[0].status == 200


@pytest.mark.tsan
def test_pipelined_in_order(world):
    """Answers to slow and quick requests keep their order, 40 on one connection."""
    token = head_of(world) + GOOD.encode()
    quick = b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answers = split_responses(world.server.raw((token + quick) * 20 + last))
    assert [answer.status for answer in answers] == [200, 404] * 20 + [404]


def test_half_closed_client_gets_its_answer(world):
    assert split_responses(world.server.raw(head_of(world) + GOOD.encode(), shut=True))[0].status == 200


def test_request_id(world):
    assert world.server.token(world.key, headers={"X-Request-Id": "a.B_c-9"}).header("X-Request-Id") == "a.B_c-9"
    for bad in ("", "a b", "a" * 129, "a\u00e9", "<script>"):
        answer = world.server.token(world.key, headers={"X-Request-Id": bad.encode("latin-1")})
        assert answer.status == 200 and answer.header("X-Request-Id") not in (bad, None, "")


def test_clients_that_leave_do_no_harm(world):
    for _ in range(50):
        with socket.create_connection(world.server.address) as sock:
            sock.sendall(head_of(world) + GOOD.encode())
    assert world.server.token(world.key).status == 200


# --- limits, failures and the log ---------------------------------------------------------------


def test_too_many_failures(server):
    with new_site(server) as site:
        key, other = site.demo(), site.key(name="other")
        instance = site.start(FAILED_AUTH_LIMIT="3/min")
        assert [instance.token(other_secret(key)).status for _ in range(4)][:3] == [401, 401, 401]
        answer = instance.token(other_secret(key))
        check_refusal(answer, 429, "temporarily_unavailable")
        assert 1 <= int(answer.header("Retry-After")) <= 60
        assert instance.token(key).status == 429, "the right secret does not help meanwhile"
        assert instance.token(other).status == 200, "another key from the same address is not concerned"


def test_limit_per_address(server):
    with new_site(server) as site:
        key = site.demo()
        instance = site.start(FAILED_AUTH_LIMIT="1/min")
        statuses = [instance.token(dict(UNKNOWN, key_id=f"key_{n:024d}".replace("0", "a").replace("1", "b").replace("8", "c").replace("9", "d"))).status for n in range(2, 30)]
        assert statuses[0] == 401 and statuses[-1] == 429
        assert instance.token(key).status == 429


def test_stored_claims_are_unreadable(server):
    """Somebody has changed the table by hand: that says nothing about the client."""
    with new_site(server) as site:
        key = site.demo()
        instance = site.start()
        site.sql("ALTER TABLE api_key DROP CONSTRAINT api_key_claims_valid")
        site.sql("UPDATE api_key SET claims = '[1]' WHERE key_id = %s", key["key_id"])
        answer = instance.token(key)
        assert (answer.status, answer.json()["error"]) == (503, "temporarily_unavailable")
        wait_until(lambda: instance.log_lines(reason="claims_unreadable", subject=key["key_id"]), "the log says why")
        assert instance.token(dict(key, secret="wrong")).status == 401


def test_database_away(postgres):
    with new_site(postgres.url()) as site:
        key = site.demo()
        instance = site.start()
        assert instance.token(key).status == 200
        postgres.stop()
        for case in (key, other_secret(key), UNKNOWN):
            answer = instance.token(case)
            check_refusal(answer, 503, "temporarily_unavailable")
            assert int(answer.header("Retry-After")) >= 1
        assert instance.get("/.well-known/jwks.json").status == 200
        assert instance.token(key, scope='"').status in (400, 503)
        check_refusal(instance.token(key, grant_type="x"), 400, "unsupported_grant_type")
        postgres.start()
        wait_until(lambda: instance.token(key).status == 200, "the database is back", 10)


def test_database_hangs(postgres):
    with new_site(postgres.url()) as site:
        key = site.demo()
        instance = site.start(DATABASE_TIMEOUT="500ms")
        assert instance.token(key).status == 200
        postgres.pause()
        started = time.monotonic()
        check_refusal(instance.token(key), 503, "temporarily_unavailable")
        assert time.monotonic() - started < 5
        wait_until(lambda: instance.ops("/readyz").status == 503, "not ready")
        assert instance.ops("/livez").status == 200
        postgres.resume()
        wait_until(lambda: instance.token(key).status == 200, "the database is back", 15)


def test_every_request_has_a_line(world):
    refused = world.server.token(other_secret(world.key), headers={"X-Request-Id": "line-1"})
    granted = world.server.token(world.key, headers={"X-Request-Id": "line-2"})
    assert (refused.status, granted.status) == (401, 200)
    lines = [wait_until(lambda: world.server.log_lines(request_id=i), "the line") for i in ("line-1", "line-2")]
    assert all(len(found) == 1 for found in lines)
    assert "wrong_secret" in json.dumps(lines[0][0]) and world.key["key_id"] in json.dumps(lines[0][0])


def test_no_secret_in_the_log(world):
    """Last in this file: every secret and every bad input has passed by."""
    token = world.server.access_token(world.key)
    log = world.server.log()
    assert world.key["key_id"] in log
    for word in (world.key["secret"], world.key["secret"][7:], basic(world.key["key_id"], world.key["secret"])[6:],
                 token, token.split(".")[2], token.split(".")[1], CANARY):
        assert word not in log
