# SPDX-License-Identifier: Apache-2.0
"""Keys without secrets: clients that sign (RFC 7523, private_key_jwt). Assertions are made by jwcrypto and PyJWT.

CARDEA_LONG=1 adds the run of 100,000 assertions, which takes some minutes; CARDEA_LONG_COUNT changes the number."""
import base64
import hashlib
import hmac
import itertools
import json
import multiprocessing
import os
import pathlib
import re
import subprocess
import threading
import time

import jwt as pyjwt
import psycopg2
import pytest
from conftest import ROOT, basic, binary, new_site, run_threads, wait_until
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from jwcrypto import jwk, jws

TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
METADATA = ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"]
BURNT = "must not be used any more"
numbers = itertools.count(1)

P256, P384, RSA = (jwk.JWK.generate(kty="EC", crv="P-256"), jwk.JWK.generate(kty="EC", crv="P-384"),
                   jwk.JWK.generate(kty="RSA", size=2048))
STRANGER = jwk.JWK.generate(kty="EC", crv="P-256")
ED25519 = jwk.JWK.generate(kty="OKP", crv="Ed25519")


def b64(data):
    return base64.urlsafe_b64encode(data if isinstance(data, bytes) else data.encode()).rstrip(b"=").decode()


def public(key, **members):
    """The public JWK; a member that is None is left out."""
    merged = {**key.export_public(as_dict=True), **members}
    return {name: value for name, value in merged.items() if value is not None}


def jwk_set(*keys):
    return {"keys": [public(key) if isinstance(key, jwk.JWK) else key for key in keys]}


def signed(key, alg, header, payload):
    """A JWS over exactly these texts: jwcrypto's core signs whatever the header says."""
    made = jws.JWSCore(alg, key, header, payload).sign()
    return f"{made['protected']}.{made['payload'].decode()}.{made['signature']}"


class World:
    """Two instances, and a key for each algorithm and purpose."""

    def __init__(self, site):
        self.site = site
        self.secret = site.demo()
        self.server, self.other = site.start(), site.start()
        self.token = site.management_token()
        self.es256, self.es384, self.rs256 = (self.create(key) for key in (P256, P384, RSA))
        self.all = self.create(P256, P384, RSA)
        self.named = self.create(public(P256, kid="first"), public(P384, kid="second"))

    def answer(self, body):
        return self.server.api(self.token, "POST", "/v1/tenants/acme/keys", body)

    def create(self, *keys, status=201, **more):
        answer = self.answer({"name": "signs", "scopes": ["data:read", "data:write"], "expires_at": "2099-01-01T00:00:00Z",
                              "jwks": jwk_set(*keys), **more})
        assert answer.status == status, answer
        return answer.json()

    def patch(self, key, body):
        return self.server.api(self.token, "PATCH", f"/v1/tenants/acme/keys/{key['key_id']}", body)

    def claims(self, key, **claims):
        """None leaves a claim out."""
        now = int(time.time())
        merged = {"iss": key["key_id"], "sub": key["key_id"], "aud": self.site.issuer, "iat": now, "exp": now + 60,
                  "jti": f"{os.getpid()}-{next(numbers)}", **claims}
        return {name: value for name, value in merged.items() if value is not None}

    def assertion(self, key, signer=P256, alg="ES256", header=None, payload=None, **claims):
        header = json.dumps({"alg": alg, **(header or {})}) if not isinstance(header, str) else header
        return signed(signer, alg, header, payload or json.dumps(self.claims(key, **claims)))

    def send(self, assertion, server=None, headers=None, **form):
        form = {"client_assertion_type": TYPE, "client_assertion": assertion, **form}
        return (server or self.server).token(headers=headers, **form)

    def refusal(self):
        """What every refusal looks like."""
        return self.server.token({"key_id": "key_" + "a" * 24, "secret": "x"}).stable()

    def reason(self, assertion, **form):
        """The reason in the log of a refusal, which is the same as every other to the client."""
        request_id = f"r-{next(numbers)}"
        answer = self.send(assertion, headers={"X-Request-Id": request_id}, **form)
        assert answer.status == 401, answer
        assert answer.stable() == self.refusal()
        return wait_until(lambda: self.server.log_lines(request_id=request_id), "the log has it")[0]["reason"]


@pytest.fixture(scope="module")
def world(server):
    with new_site(server) as site:
        yield World(site)


# --- what is accepted -----------------------------------------------------------------------------


def test_largest_token(world):
    wide = [f"{n:02}" + "&" * 126 for n in range(64)]
    targets = [f"urn:{n}:" + "&" * 249 for n in range(8)]
    world.site.sql("INSERT INTO scope (name, title) SELECT unnest(%s), 'wide'", wide)
    key = world.create(P256, scopes=wide, audience=targets, claims={"x": "a" * 2000})
    answer = world.send(world.assertion(key))
    assert answer.status == 200, answer
    assert answer.json()["scope"].split(" ") == wide


@pytest.mark.parametrize("name, signer, alg", [("es256", P256, "ES256"), ("es384", P384, "ES384"),
                                               ("rs256", RSA, "RS256"), ("all", P256, "ES256"), ("all", P384, "ES384"),
                                               ("all", RSA, "RS256")])
def test_algorithms(world, name, signer, alg):
    key = getattr(world, name)
    answer = world.send(world.assertion(key, signer, alg))
    assert answer.status == 200, answer
    assert (answer.header("Cache-Control"), answer.header("Pragma")) == ("no-store", "no-cache")
    assert set(answer.json()) == {"access_token", "token_type", "expires_in", "scope"}
    claims = pyjwt.decode(answer.json()["access_token"], options={"verify_signature": False})
    assert claims["sub"] == claims["client_id"] == key["key_id"]
    keys = jwk.JWKSet.from_json(json.dumps(world.server.jwks()))
    token = jws.JWS()
    token.deserialize(answer.json()["access_token"])
    token.verify(keys.get_key(token.jose_header["kid"]))


@pytest.mark.parametrize("name, signer, alg", [("es256", P256, "ES256"), ("es384", P384, "ES384"), ("rs256", RSA, "RS256")])
def test_another_library(world, name, signer, alg):
    pem = signer.export_to_pem(private_key=True, password=None)
    assertion = pyjwt.encode(world.claims(getattr(world, name)), pem, algorithm=alg)
    assert world.send(assertion).status == 200
    assert world.send(assertion).status == 401


ACCEPTED = {
    "aud the token endpoint": dict(aud="{issuer}/oauth2/token"),
    "aud an array": dict(aud=["{issuer}"]),
    "aud an array with others": dict(aud=["https://other.example", "{issuer}/oauth2/token"]),
    "an hour ahead": dict(exp=3600),
    "about to expire": dict(exp=5),
    "exp with a fraction": dict(exp=30.5),
    "no iat": dict(iat=None),
    "nbf": dict(nbf=0),
    "iat of a fast clock": dict(iat=8),
    "nbf of a fast clock": dict(nbf=8),
    "old iat": dict(iat=-86400),
    "the longest jti": dict(jti="j" * 256),
    "jti in other scripts": dict(jti="ключ ' \" \\ %00"),
    "further claims": dict(foo={"bar": [1, None]}),
    "typ JWT": dict(header={"typ": "JWT"}),
    "typ in small letters": dict(header={"typ": "jwt"}),
    "typ of the revision": dict(header={"typ": "client-authentication+jwt"}),
    "kid is the thumbprint": dict(header={"kid": P256.thumbprint()}),
    "unknown header": dict(header={"x5t": "AAAA", "cty": "x"}),
}


def filled(world, wish):
    """Times are from now, and the issuer has a port that is not known before."""
    now = int(time.time())
    wish = {name: now + value if name in ("exp", "iat", "nbf") and isinstance(value, (int, float))
            and not isinstance(value, bool) else value for name, value in wish.items()}
    aud = wish.get("aud")
    if isinstance(aud, str):
        wish["aud"] = aud.replace("{issuer}", world.site.issuer)
    elif isinstance(aud, list):
        wish["aud"] = [a.replace("{issuer}", world.site.issuer) if isinstance(a, str) else a for a in aud]
    return wish


@pytest.mark.parametrize("wish", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_accepted(world, wish):
    wish = filled(world, wish)
    if "jti" in wish:
        wish["jti"] = wish["jti"][:-6] + f"{next(numbers):06}"
    answer = world.send(world.assertion(world.es256, **wish))
    assert answer.status == 200, answer


def test_client_id_beside_it(world):
    assert world.send(world.assertion(world.es256), client_id=world.es256["key_id"]).status == 200
    assert world.reason(world.assertion(world.es256), client_id=world.es384["key_id"]) == "assertion_of_another_client"
    assert world.reason(world.assertion(world.es256), client_id="somebody") == "assertion_of_another_client"


def test_kid(world):
    kids = {"first": (P256, "ES256"), "second": (P384, "ES384"), P256.thumbprint(): (P256, "ES256")}
    for kid, (signer, alg) in kids.items():
        assert world.send(world.assertion(world.named, signer, alg, {"kid": kid})).status == 200
    for kid in ("second", "First", "third", "", STRANGER.thumbprint()):
        assertion = world.assertion(world.named, header={"kid": kid})
        if kid:
            assert world.reason(assertion) == "assertion_no_such_key"
        else:
            assert world.send(assertion).status in (200, 401)
    assert world.send(world.assertion(world.named)).status == 200


# --- what is refused ------------------------------------------------------------------------------

REFUSED_CLAIMS = {
    "no exp": (dict(exp=None), "assertion_exp"),
    "exp a text": (dict(exp="{issuer}"), "assertion_exp"),
    "exp true": (dict(exp=True), "assertion_exp"),
    "exp too far": (dict(exp=3600 + 20), "assertion_exp_too_far"),
    "exp in a day": (dict(exp=86400), "assertion_exp_too_far"),
    "exp now": (dict(exp=0), "assertion_expired"),
    "exp over": (dict(exp=-1), "assertion_expired"),
    "iat in the future": (dict(iat=14), "assertion_iat"),
    "iat a text": (dict(iat="x"), "assertion_iat"),
    "nbf in the future": (dict(nbf=14), "assertion_nbf"),
    "nbf a list": (dict(nbf=[]), "assertion_nbf"),
    "no aud": (dict(aud=None), "assertion_aud"),
    "aud of another": (dict(aud="https://other.example"), "assertion_aud"),
    "aud with a slash": (dict(aud="{issuer}/"), "assertion_aud"),
    "aud of tokens": (dict(aud="{issuer}/api"), "assertion_aud"),
    "aud in capitals": (dict(aud="HTTP://127.0.0.1"), "assertion_aud"),
    "aud empty": (dict(aud=[]), "assertion_aud"),
    "aud a list in a list": (dict(aud=[["{issuer}"]]), "assertion_aud"),
    "aud with a number": (dict(aud=["{issuer}", 1]), "assertion_aud"),
    "no jti": (dict(jti=None), "assertion_jti"),
    "jti empty": (dict(jti=""), "assertion_jti"),
    "jti a number": (dict(jti=7), "assertion_jti"),
    "jti too long": (dict(jti="j" * 257), "assertion_jti"),
    "jti with NUL": (dict(jti="a\0b"), "assertion_malformed"),
    "no iss": (dict(iss=None), "assertion_malformed"),
    "no sub": (dict(sub=None), "assertion_malformed"),
    "iss is not sub": (dict(iss="somebody"), "assertion_malformed"),
    "sub is not iss": (dict(sub="somebody"), "assertion_malformed"),
    "iss of an unknown key": (dict(iss="key_" + "b" * 24, sub="key_" + "b" * 24), "unknown_key"),
    "iss is no key ID": (dict(iss="somebody", sub="somebody"), "unknown_key"),
    "iss is the decoy": (dict(iss="-", sub="-"), "unknown_key"),
    "iss a list": (dict(iss=["x"], sub=["x"]), "assertion_malformed"),
}


@pytest.mark.parametrize("wish, reason", REFUSED_CLAIMS.values(), ids=REFUSED_CLAIMS.keys())
def test_claims_refused(world, wish, reason):
    assert world.reason(world.assertion(world.es256, **filled(world, wish))) == reason


REFUSED_HEADERS = {
    "crit": {"crit": ["exp"], "exp": 1}, "crit empty": {"crit": []}, "b64": {"b64": True},
    "jwk": {"jwk": public(STRANGER)}, "jwk of its own": {"jwk": public(P256)}, "jku": {"jku": "http://127.0.0.1:1/jwks"},
    "x5u": {"x5u": "http://127.0.0.1:1/cert"}, "x5c": {"x5c": ["AAAA"]}, "typ of an access token": {"typ": "at+jwt"},
    "typ of something": {"typ": "secevent+jwt"}, "typ a number": {"typ": 1}, "kid a number": {"kid": 1},
    "kid too long": {"kid": "k" * 256}}


@pytest.mark.parametrize("header", REFUSED_HEADERS.values(), ids=REFUSED_HEADERS.keys())
def test_headers_refused(world, header):
    assert world.reason(world.assertion(world.es256, header=header)) == "assertion_malformed"


def wrong_curve(world):
    """ES256 with the registered P-384 key: libjwt 1.10 verifies it."""
    text = b64('{"alg":"ES256"}') + "." + b64(json.dumps(world.claims(world.es384)))
    signature = P384.get_op_key("sign").sign(text.encode(), ec.ECDSA(hashes.SHA256()))
    r, s = utils.decode_dss_signature(signature)
    return text + "." + b64(r.to_bytes(48, "big") + s.to_bytes(48, "big"))


def with_mac(world, alg="HS256"):
    """Keyed with the PEM of the public key, which libjwt 1.10 takes as valid."""
    text = b64(json.dumps({"alg": alg, "typ": "JWT"})) + "." + b64(json.dumps(world.claims(world.rs256)))
    return text + "." + b64(hmac.new(RSA.export_to_pem(), text.encode(), hashlib.sha256).digest())


def unsigned(world, alg="none", rest="."):
    return b64(json.dumps({"alg": alg})) + "." + b64(json.dumps(world.claims(world.es256))) + rest


def changed(world, index):
    """One part of a good one is another's."""
    parts, others = (world.assertion(world.es256, jti=f"c-{next(numbers)}").split(".") for _ in range(2))
    parts[index] = others[index]
    return ".".join(parts)


def lengthened(world, size):
    """A good one of exactly this many bytes, or nearly."""
    fill = (size - len(world.assertion(world.es256))) * 3 // 4
    while True:
        assertion = world.assertion(world.es256, fill="x" * fill)
        if len(assertion) <= size:
            return assertion
        fill -= 1


REFUSED = {
    "PS256": (lambda w: w.assertion(w.rs256, RSA, "PS256"), "assertion_malformed"),
    "RS384": (lambda w: w.assertion(w.rs256, RSA, "RS384"), "assertion_malformed"),
    "EdDSA": (lambda w: w.assertion(w.es256, ED25519, "EdDSA"), "assertion_malformed"),
    "HS256 keyed with the PEM": (with_mac, "assertion_malformed"),
    "HS256 said to be RS256": (lambda w: with_mac(w, "RS256"), "assertion_signature"),
    "none": (unsigned, "assertion_malformed"),
    "None": (lambda w: unsigned(w, "None"), "assertion_malformed"),
    "none with a signature": (lambda w: unsigned(w, "none", ".AAAA"), "assertion_malformed"),
    "no signature": (lambda w: unsigned(w, "ES256"), "assertion_malformed"),
    "two parts": (lambda w: unsigned(w, "ES256", ""), "assertion_malformed"),
    "five parts": (lambda w: "a.b.c.d.e", "assertion_malformed"),
    "no JWT": (lambda w: "x", "assertion_malformed"),
    "of a stranger": (lambda w: w.assertion(w.es256, STRANGER), "assertion_signature"),
    "of another client": (lambda w: w.assertion(w.es384, P256), "assertion_no_such_key"),
    "another algorithm than the key's": (lambda w: w.assertion(w.es256, RSA, "RS256"), "assertion_no_such_key"),
    "ES256 over P-384": (wrong_curve, "assertion_no_such_key"),
    "head of another": (lambda w: changed(w, 2), "assertion_signature"),
    "claims of another": (lambda w: changed(w, 1), "assertion_signature"),
    "padded": (lambda w: w.assertion(w.es256) + "=", "assertion_malformed"),
    "with a space": (lambda w: w.assertion(w.es256) + " ", "assertion_malformed"),
    "alg twice": (lambda w: w.assertion(w.es256, header='{"alg":"ES256","alg":"ES256"}'), "assertion_malformed"),
    "claim twice": (lambda w: w.assertion(w.es256, payload=json.dumps(w.claims(w.es256))[:-1] + ',"exp":1}'),
                    "assertion_malformed"),
    "text after the claims": (lambda w: w.assertion(w.es256, payload=json.dumps(w.claims(w.es256)) + "x"),
                              "assertion_malformed"),
    "bad UTF-8": (lambda w: w.assertion(w.es256, payload=b'{"iss":"\xff","sub":"\xff"}'), "assertion_malformed"),
    "too large": (lambda w: lengthened(w, 8192) + "A", "assertion_malformed"),
    "of a key with a secret": (lambda w: w.assertion(w.secret), "wrong_method"),
}


@pytest.mark.parametrize("make, reason", REFUSED.values(), ids=REFUSED.keys())
def test_refused(world, make, reason):
    assert world.reason(make(world)) == reason


def test_largest(world):
    for size in range(8185, 8193):
        assert world.send(lengthened(world, size)).status == 200


@pytest.mark.parametrize("typ", [None, "", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer", TYPE.upper()])
def test_type_of_the_assertion(world, typ):
    assert world.reason(world.assertion(world.es256), client_assertion_type=typ) == "assertion_type"


def test_type_without_an_assertion(world):
    for assertion in (None, ""):
        assert world.reason(assertion) == "no_credentials"
        assert world.reason(assertion, client_id=world.es256["key_id"]) == "no_credentials"


def test_two_ways_at_once(world):
    for form, headers in [(dict(client_id=world.es256["key_id"], client_secret="x"), {}),
                          (dict(client_id=world.secret["key_id"], client_secret=world.secret["secret"]), {}),
                          ({}, {"Authorization": basic(world.es256["key_id"], "x")}),
                          ({}, {"Authorization": basic(world.secret["key_id"], world.secret["secret"])}),
                          ({}, {"Authorization": "Bearer x"})]:
        answer = world.send(world.assertion(world.es256), headers=headers, **form)
        assert (answer.status, answer.json()["error"]) == (400, "invalid_request"), answer
    twice = f"grant_type=client_credentials&client_assertion_type={TYPE}"
    answer = world.server.token(body=twice + ("&client_assertion=" + world.assertion(world.es256)) * 2)
    assert (answer.status, answer.json()["error"]) == (400, "invalid_request")


def test_a_key_has_one_way(world):
    made_up = "cardea_" + "A" * 49
    for post in (False, True):
        answer = world.server.token({"key_id": world.es256["key_id"], "secret": made_up}, post=post)
        assert answer.stable() == world.refusal()
    wait_until(lambda: world.server.log_lines(subject=world.es256["key_id"], reason="wrong_method"), "the log has it")
    assert world.server.token(world.secret).status == 200


def test_state_of_the_key(world):
    key = world.create(P256)
    for change, reason, back in [
            ({"enabled": False}, "key_disabled", {"enabled": True}),
            ({"expires_at": "2020-01-01T00:00:00Z"}, "key_expired", {"expires_at": "2099-01-01T00:00:00Z"}),
            ({"allowed_cidrs": ["192.0.2.0/24"]}, "address_not_allowed", {"allowed_cidrs": None})]:
        assert world.patch(key, change).status == 200
        assert world.reason(world.assertion(key)) == reason
        assert world.reason(world.assertion(key, STRANGER)) == reason
        assert world.patch(key, back).status == 200
        assert world.send(world.assertion(key)).status == 200
    world.server.api(world.token, "DELETE", f"/v1/tenants/acme/keys/{key['key_id']}")
    assert world.reason(world.assertion(key)) == "unknown_key"


# --- once -----------------------------------------------------------------------------------------


def test_once(world):
    assertion = world.assertion(world.es256)
    assert world.send(assertion).status == 200
    assert world.reason(assertion) == "assertion_used_before"
    assert world.send(assertion, world.other).stable() == world.refusal()


def test_the_same_jti(world):
    """Good once a key: another assertion with it is refused, another client's is not."""
    jti = f"same-{next(numbers)}"
    assert world.send(world.assertion(world.es256, jti=jti)).status == 200
    assert world.reason(world.assertion(world.es256, jti=jti, exp=int(time.time()) + 30)) == "assertion_used_before"
    assert world.reason(world.assertion(world.es256, jti=jti, header={"typ": "JWT"})) == "assertion_used_before"
    assert world.send(world.assertion(world.all, jti=jti)).status == 200
    assert world.send(world.assertion(world.es256, jti=jti.upper())).status == 200


def test_refused_ones_are_not_used_up(world):
    """Nobody can use up a jti without the key."""
    jti = f"kept-{next(numbers)}"
    before = world.site.sql("SELECT count(*) FROM assertion_jti")
    assert world.reason(world.assertion(world.es256, STRANGER, jti=jti)) == "assertion_signature"
    assert world.reason(world.assertion(world.es256, jti=jti, aud="x")) == "assertion_aud"
    assert world.site.sql("SELECT count(*) FROM assertion_jti") == before
    assert world.send(world.assertion(world.es256, jti=jti)).status == 200


@pytest.mark.tsan
def test_fifty_copies_at_once(world):
    for _ in range(3):
        assertion, answers, start = world.assertion(world.es256), [], threading.Barrier(50)

        def one(index):
            start.wait()
            answers.append(world.send(assertion, (world.server, world.other)[index % 2]))

        run_threads(50, one)
        assert sorted(answer.status for answer in answers) == [200] + [401] * 49
        assert {json.dumps(answer.stable(), default=str) for answer in answers if answer.status == 401} == {
            json.dumps(world.refusal(), default=str)}


def test_kept_until_it_cannot_be_used(world):
    """And a while longer, since clocks differ."""
    world.site.sql("DELETE FROM assertion_jti")
    exp = int(time.time()) + 30
    assert world.send(world.assertion(world.es256, exp=exp)).status == 200
    ((digest, kept),) = world.site.sql("SELECT digest, extract(epoch FROM expires_at) FROM assertion_jti")
    assert len(bytes(digest)) == 32
    assert exp + 30 <= kept <= exp + 600


def test_a_replay_is_no_use(world):
    key = world.create(P256)
    assertion = world.assertion(key)
    assert world.send(assertion).status == 200
    used = wait_until(lambda: world.server.api(world.token, "GET", f"/v1/tenants/acme/keys/{key['key_id']}")
                      .json()["last_used_at"], "it shows when it was used")
    world.site.sql("UPDATE api_key SET last_used_at = '2020-01-01' WHERE key_id = %s", key["key_id"])
    assert used and world.reason(assertion) == "assertion_used_before"
    time.sleep(4)  # a flush
    (row,) = world.site.sql("SELECT extract(year FROM last_used_at) FROM api_key WHERE key_id = %s", key["key_id"])
    assert row[0] == 2020


def count_of(site):
    return site.sql("SELECT count(*) FROM assertion_jti")[0][0]


def test_storage_is_swept_by_use(world):
    """Each new jti clears two whose time is over, whether or not a job runs."""
    world.site.sql("DELETE FROM assertion_jti")
    for _ in range(20):
        assert world.send(world.assertion(world.es256)).status == 200
    assert count_of(world.site) == 20
    world.site.sql("UPDATE assertion_jti SET expires_at = now() - interval '1 second'")
    for _ in range(15):
        assert world.send(world.assertion(world.es256)).status == 200
    assert count_of(world.site) == 15


def test_storage_expires_by_itself(server):
    """25 batches at the first tick that is due; what is not over stays."""
    with new_site(server) as site:
        for state, over, count in [("over", "-1 minute", 25_000), ("alive", "1 hour", 500)]:
            site.sql(f"INSERT INTO assertion_jti SELECT sha256(('{state}' || n)::bytea), now() + interval '{over}'"
                     f" FROM generate_series(1, {count}) AS n")
        site.start()
        wait_until(lambda: count_of(site) == 500, "the others are gone", 45)
        time.sleep(1)
        assert count_of(site) == 500


# --- the database ---------------------------------------------------------------------------------


def test_database_away(postgres):
    with new_site(postgres.tcp_url(), DATABASE_TIMEOUT="1s", WORKERS="1") as site:
        world = World(site)
        good, bad = world.assertion(world.es256), world.assertion(world.es256, STRANGER)
        postgres.pause()
        for assertion in (good, bad):
            answer = world.send(assertion)
            assert (answer.status, answer.json()["error"]) == (503, "temporarily_unavailable")
            assert answer.header("Retry-After")
        postgres.resume()
        wait_until(lambda: world.send(world.assertion(world.es256)).status == 200, "it is back")
        wait_until(lambda: world.send(bad).status == 401, "it is refused again")
        postgres.stop()
        assert {world.send(assertion).status for assertion in (good, bad, world.assertion(world.es256))} == {503}
        postgres.start()
        wait_until(lambda: world.send(world.assertion(world.es256)).status == 200, "it is back again")


def test_only_writing_is_stuck(server):
    """Assertions get 503 together when the first has waited long enough; clients with secrets do not notice."""
    with new_site(server, DATABASE_TIMEOUT="3s", WORKERS="1") as site:
        world = World(site)
        with site_lock(site):
            answers, begun = [], time.monotonic()

            def one(_):
                answers.append(world.send(world.assertion(world.es256)).status)

            def secrets(_):
                while len(answers) < 20:
                    start = time.monotonic()
                    assert world.server.token(world.secret).status == 200
                    assert time.monotonic() - start < 2

            run_threads(21, lambda index: secrets(index) if index == 20 else one(index))
            assert set(answers) == {503} and time.monotonic() - begun < 8
        wait_until(lambda: world.send(world.assertion(world.es256)).status == 200, "it works again")


class site_lock:
    """Holds the table of jti, so that nothing can be written into it."""

    def __init__(self, site):
        self.connection = psycopg2.connect(site.database)

    def __enter__(self):
        self.connection.cursor().execute("LOCK TABLE assertion_jti IN ACCESS EXCLUSIVE MODE")

    def __exit__(self, *_):
        self.connection.close()


def test_failures_are_limited(server):
    """Also when the ID is in the assertion alone; and then the right one has to wait as well."""
    with new_site(server) as site:
        world = World(site)
        limited = site.start(FAILED_AUTH_LIMIT="3/min")
        bad = [world.send(world.assertion(world.es256, STRANGER), limited).status for _ in range(5)]
        assert bad == [401, 401, 401, 429, 429]
        answer = world.send(world.assertion(world.es256), limited)
        assert (answer.status, answer.json()["error"]) == (429, "temporarily_unavailable")
        assert world.send(world.assertion(world.es384, P384, "ES384"), limited).status == 200


# --- the token ------------------------------------------------------------------------------------


def token_claims(answer):
    assert answer.status == 200, answer
    return pyjwt.decode(answer.json()["access_token"], options={"verify_signature": False})


def test_scope_and_resource(world):
    key = world.create(P256, audience=["https://a.example/", "b"], claims={"region": "eu"}, token_ttl=60)
    claims = token_claims(world.send(world.assertion(key), scope="data:read", resource="https://a.example/"))
    assert (claims["scope"], claims["aud"], claims["region"]) == ("data:read", "https://a.example/", "eu")
    assert claims["exp"] - claims["iat"] == 60
    assert sorted(token_claims(world.send(world.assertion(key)))["aud"]) == ["b", "https://a.example/"]
    for form, error in [(dict(scope="data:delete"), "invalid_scope"), (dict(audience="c"), "invalid_target"),
                        (dict(resource="relative"), "invalid_target"),
                        (dict(grant_type="password"), "unsupported_grant_type"), (dict(grant_type=None), "invalid_request")]:
        answer = world.send(world.assertion(key), **form)
        assert (answer.status, answer.json()["error"]) == (400, error)


def test_management_key(world):
    key = world.create(P384, scopes=["cardea.admin"])
    answer = world.send(world.assertion(key, P384, "ES384"))
    assert token_claims(answer)["aud"] == world.site.issuer
    assert world.server.api(answer.json()["access_token"], "GET", "/v1/tenants/acme/keys").status == 200
    assert world.patch(key, {"enabled": False}).status == 200
    assert world.server.api(answer.json()["access_token"], "GET", "/v1/tenants/acme/keys").status == 401


@pytest.mark.parametrize("path", METADATA)
def test_metadata(world, path):
    text = world.server.get(path).json()
    assert set(text["token_endpoint_auth_methods_supported"]) == {"client_secret_basic", "client_secret_post", "private_key_jwt"}
    assert text["token_endpoint_auth_signing_alg_values_supported"] == ["ES256", "ES384", "RS256"]
    assert world.send(world.assertion(world.es256, aud=text["token_endpoint"])).status == 200
    assert world.send(world.assertion(world.es256, aud=text["issuer"])).status == 200


# --- managing such keys -----------------------------------------------------------------------------


def test_created(world):
    key = world.create(public(P256, kid="mine", use="sig", alg="ES256", key_ops=["verify"], foo=1))
    assert "secret" not in key and key["auth_method"] == "private_key_jwt"
    assert key["jwks"]["keys"][0]["kid"] == "mine"
    got = world.server.api(world.token, "GET", f"/v1/tenants/acme/keys/{key['key_id']}").json()
    assert got["jwks"] == key["jwks"] and got["auth_method"] == "private_key_jwt"
    assert world.send(world.assertion(key, header={"kid": "mine"})).status == 200


def test_rotation_of_the_clients_key(world):
    key, new = world.create(P256), jwk.JWK.generate(kty="EC", crv="P-256")
    assert world.send(world.assertion(key, new)).status == 401
    assert world.patch(key, {"jwks": jwk_set(P256, new)}).status == 200
    for signer in (P256, new, P256):
        for server in (world.server, world.other):
            assert world.send(world.assertion(key, signer), server).status == 200
    assert world.patch(key, {"jwks": jwk_set(new)}).status == 200
    for server in (world.server, world.other):
        assert world.send(world.assertion(key, P256), server).stable() == world.refusal()
        assert world.send(world.assertion(key, new), server).status == 200


def errors_of(answer):
    assert answer.status == 422, answer
    return {error["field"]: error["message"] for error in answer.json()["errors"]}


PRIVATE = {"EC": P256, "RSA": RSA, "P-384": P384}


@pytest.mark.parametrize("key", PRIVATE.values(), ids=PRIVATE.keys())
def test_private_keys_are_burnt(world, key):
    private = {"keys": [public(STRANGER), key.export_private(as_dict=True)]}
    body = {"name": "x", "scopes": ["data:read"], "expires_at": "2099-01-01T00:00:00Z", "jwks": private}
    for answer in (world.answer(body), world.patch(world.es256, {"jwks": private})):
        assert BURNT in errors_of(answer)["jwks"]
        assert key.export_private(as_dict=True)["d"] not in answer.body.decode()
    assert key.export_private(as_dict=True)["d"] not in world.server.log()


SETS = {
    "no keys": {"keys": []},
    "six keys": jwk_set(*[jwk.JWK.generate(kty="EC", crv="P-256") for _ in range(6)]),
    "a key, not a set": public(P256),
    "a list": [public(P256)],
    "RSA of 1024 bits": jwk_set(jwk.JWK.generate(kty="RSA", size=1024)),
    "P-521": jwk_set(jwk.JWK.generate(kty="EC", crv="P-521")),
    "secp256k1": jwk_set(jwk.JWK.generate(kty="EC", crv="secp256k1")),
    "Ed25519": jwk_set(ED25519),
    "symmetric": {"keys": [{"kty": "oct", "k": "AAAA"}]},
    "for PS256": jwk_set(public(RSA, alg="PS256")),
    "for HS256": jwk_set(public(RSA, alg="HS256")),
    "for another curve": jwk_set(public(P256, alg="ES384")),
    "for encryption": jwk_set(public(P256, use="enc")),
    "not on the curve": jwk_set(public(P256, y=public(P256)["x"])),
    "one of two is bad": jwk_set(P256, ED25519),
    "too long": jwk_set(public(P256, fill="x" * 17000)),
}


@pytest.mark.parametrize("jwks", SETS.values(), ids=SETS.keys())
def test_sets_refused(world, jwks):
    body = {"name": "x", "scopes": ["data:read"], "expires_at": "2099-01-01T00:00:00Z", "jwks": jwks}
    assert set(errors_of(world.answer(body))) == {"jwks"}
    assert set(errors_of(world.patch(world.es256, {"jwks": jwks}))) == {"jwks"}


def test_a_single_key_is_burnt_too(world):
    single = P256.export_private(as_dict=True)
    assert BURNT in errors_of(world.patch(world.es256, {"jwks": single}))["jwks"]
    assert BURNT not in errors_of(world.patch(world.es256, {"jwks": public(P256)}))["jwks"]


def test_five_keys(world):
    keys = [jwk.JWK.generate(kty="EC", crv="P-256") for _ in range(4)] + [RSA]
    key = world.create(*keys)
    for signer in keys[:4]:
        assert world.send(world.assertion(key, signer)).status == 200
    assert world.send(world.assertion(key, RSA, "RS256")).status == 200
    assert world.send(world.assertion(key, STRANGER)).status == 401


def test_it_has_no_secret_to_rotate(world):
    answer = world.server.api(world.token, "POST", f"/v1/tenants/acme/keys/{world.es256['key_id']}/secret", {})
    assert answer.status == 409, answer
    assert set(errors_of(world.patch(world.es256, {"jwks": None}))) == {"jwks"}
    assert set(errors_of(world.patch(world.secret, {"jwks": jwk_set(P256)}))) == {"jwks"}
    assert world.site.cli("key", "rotate", world.es256["key_id"], check=False).status == 1


def test_command_line(world, tmp_path):
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps(jwk_set(P384)))
    key = world.site.key(options=["--jwks", path])
    assert key["auth_method"] == "private_key_jwt" and "secret" not in key
    assert world.send(world.assertion(key, P384, "ES384")).status == 200
    shown = world.site.cli("key", "show", key["key_id"]).out
    assert "private_key_jwt" in shown and "\nsecret " not in shown
    arguments = ["key", "create", "--tenant", "acme", "--name", "n", "--scope", "data:read", "--expires", "1d", "--jwks"]
    printed = world.site.cli(*arguments, path).out
    assert "private_key_jwt" in printed and "shown this once" not in printed
    path.write_text(json.dumps({"keys": [P256.export_private(as_dict=True)]}))
    refused = world.site.cli(*arguments, path, check=False)
    assert refused.status == 1 and BURNT in refused.err
    path.write_text("no JSON")
    assert world.site.cli(*arguments, path, check=False).status == 1


def test_console_takes_a_set(world):
    """The form itself is tested in test_console.py."""
    page = world.server.get("/console/").body.decode()
    path = re.search(r'"([^"]*jwks_field\.js)"', page)[1]
    field = world.server.get(path if path.startswith("/") else "/console/" + path)
    assert field.status == 200 and b"export function jwksField" in field.body


def test_readme(world, tmp_path):
    """What it prints works as printed, but for the address."""
    section = (ROOT / "README.md").read_text().split("### Keys without secrets: private_key_jwt\n")[1].split("\n### ")[0]
    (script,) = re.findall(r"^```sh\n(.*?)^```$", section, re.M | re.S)
    script = script.replace("http://127.0.0.1:8080", world.site.issuer)
    environment = world.site.environment()
    environment["PATH"] = str(pathlib.Path(binary()).parent) + ":" + environment["PATH"]
    for shell in ("bash", "dash"):
        for _ in range(3):  # numbers in a signature are short now and then
            done = subprocess.run([shell, "-euc", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            assert set(json.loads(done.stdout)) == {"access_token", "token_type", "expires_in", "scope"}, done
    assert not json.loads((tmp_path / "client.jwks.json").read_text())["keys"][0].get("d")


# --- many -----------------------------------------------------------------------------------------


def many(addresses, issuer, key_id, private, first, count, failures):
    """A process of its own: makes assertions that are good for seconds, and uses each at once."""
    import http.client
    import urllib.parse
    signer = jwk.JWK.from_json(private)
    connections = [http.client.HTTPConnection(*address, timeout=30) for address in addresses]
    failed = 0
    for i in range(first, first + count):
        now = int(time.time())
        claims = {"iss": key_id, "sub": key_id, "aud": issuer, "iat": now, "exp": now + 5, "jti": f"many-{i}"}
        body = urllib.parse.urlencode({
            "grant_type": "client_credentials", "client_assertion_type": TYPE,
            "client_assertion": signed(signer, "ES256", '{"alg":"ES256"}', json.dumps(claims))})
        connection = connections[i % len(connections)]
        connection.request("POST", "/oauth2/token", body, {"Content-Type": "application/x-www-form-urlencoded"})
        answer = connection.getresponse()
        answer.read()
        failed += answer.status != 200
    failures.put(failed)


@pytest.mark.skipif("CARDEA_LONG" not in os.environ, reason="takes minutes; CARDEA_LONG=1 runs it")
def test_hundred_thousand(server):
    """The table holds what is valid at one time (an assertion's 5 s and a minute), not what has ever been."""
    total = int(os.environ.get("CARDEA_LONG_COUNT", "100000"))
    with new_site(server, LOG_LEVEL="warning") as site:
        world = World(site)
        failures, n_processes = multiprocessing.Queue(), 4
        each = total // n_processes
        begun = time.monotonic()
        processes = [multiprocessing.Process(target=many, args=(
            [world.server.address, world.other.address], site.issuer, world.es256["key_id"], P256.export_private(),
            n * each, each, failures)) for n in range(n_processes)]
        for process in processes:
            process.start()
        seen = []
        while any(process.is_alive() for process in processes):
            time.sleep(5)
            ((rows, size),) = site.sql("SELECT count(*), pg_total_relation_size('assertion_jti') FROM assertion_jti")
            seen.append((round(time.monotonic() - begun), rows, size))
        took = time.monotonic() - begun
        assert sum(failures.get() for _ in processes) == 0
        rate = total / took
        print(f"\n{total} in {took:.0f} s ({rate:.0f}/s); (s, rows, bytes): {seen}")
        assert max(rows for _, rows, _ in seen) < min(total, 2 * rate * 65 + 2000)
        wait_until(lambda: count_of(site) == 0, "all have expired by themselves", 240)
        print(f"all gone after {time.monotonic() - begun:.0f} s; 'vacuum' and reuse keep "
              f"{site.sql('''SELECT pg_total_relation_size('assertion_jti')''')[0][0]} bytes")
