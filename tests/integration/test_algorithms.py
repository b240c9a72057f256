# SPDX-License-Identifier: Apache-2.0
"""Tokens of every algorithm, verified by python3-jwcrypto and python3-jwt, which share no code with us."""
import base64
import json

import jwt
import pytest
from conftest import new_site, wait_until
from jwcrypto import jwk, jws

WIDTHS = {"ES256": 64, "ES384": 96, "RS256": 256, "PS256": 256, "EdDSA": 64}
MEMBERS = {"ES256": {"crv", "x", "y"}, "ES384": {"crv", "x", "y"}, "RS256": {"n", "e"}, "PS256": {"n", "e"},
           "EdDSA": {"crv", "x"}}
CURVES = {"ES256": "P-256", "ES384": "P-384", "EdDSA": "Ed25519"}


def unpadded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@pytest.fixture(scope="module", params=WIDTHS)
def world(server, request):
    with new_site(server, SIGNING_ALG=request.param) as site:
        site.alg = request.param
        site.acme_key = site.demo()
        site.start()
        yield site


def test_jwcrypto(world):
    instance = world.instances[0]
    keys = jwk.JWKSet.from_json(instance.get("/.well-known/jwks.json").body)
    for _ in range(20):
        signed = jws.JWS()
        signed.deserialize(instance.access_token(world.acme_key))
        assert signed.jose_header["alg"] == world.alg
        signed.verify(keys.get_key(signed.jose_header["kid"]), alg=world.alg)
        assert json.loads(signed.payload)["sub"] == world.acme_key["key_id"]


def test_pyjwt(world):
    instance = world.instances[0]
    client = jwt.PyJWKClient(world.issuer + "/.well-known/jwks.json")
    for _ in range(20):
        token = instance.access_token(world.acme_key)
        claims = jwt.decode(token, client.get_signing_key_from_jwt(token).key, algorithms=[world.alg],
                            audience=world.issuer + "/api", issuer=world.issuer)
        assert claims["scope"] == "data:read data:write"


def test_shape(world):
    (key,) = world.instances[0].jwks()["keys"]
    head, _, signature = world.instances[0].access_token(world.acme_key).split(".")
    assert len(unpadded(signature)) == WIDTHS[world.alg]
    assert json.loads(unpadded(head)) == {"alg": world.alg, "typ": "at+jwt", "kid": key["kid"]}
    assert set(key) == MEMBERS[world.alg] | {"kty", "kid", "use", "alg"}
    assert key["alg"] == world.alg and key.get("crv") == CURVES.get(world.alg)
    assert key["kid"] == jwk.JWK.from_json(json.dumps(key)).thumbprint()
    if "n" in key:
        assert len(unpadded(key["n"])) * 8 >= 2048


def test_altered_tokens_do_not_verify(world):
    instance = world.instances[0]
    (key,) = instance.jwks()["keys"]
    head, payload, signature = instance.access_token(world.acme_key).split(".")
    other = instance.access_token(world.acme_key).split(".")
    for forged in (f"{head}.{other[1]}.{signature}", f"{head}.{payload}.{other[2]}", f"{head}.{payload}."):
        signed = jws.JWS()
        with pytest.raises(jws.InvalidJWSSignature):
            signed.deserialize(forged)
            signed.verify(jwk.JWK.from_json(json.dumps(key)))


def test_management_accepts_its_own(world):
    """Our verifier agrees with our signer."""
    token = world.management_token()
    assert world.instances[0].api(token, "GET", "/v1/tenants/acme/keys").status == 200


def test_metadata_names_it(world):
    document = world.instances[0].get("/.well-known/openid-configuration").json()
    assert document["id_token_signing_alg_values_supported"] == [world.alg]


def test_metadata_while_the_algorithm_changes(server):
    """Until the new key signs, and until the old one's last token has expired, both are to be expected."""
    with new_site(server, SIGNING_ALG="ES256") as site:
        key = site.demo()
        site.start().stop()
        instance = site.start(SIGNING_ALG="ES384")

        def named():
            return instance.get("/.well-known/openid-configuration").json()["id_token_signing_alg_values_supported"]

        wait_until(lambda: len(instance.jwks()["keys"]) == 2, "the new key is announced")
        assert jwt.get_unverified_header(instance.access_token(key))["alg"] == "ES256"
        wait_until(lambda: named() == ["ES256", "ES384"], "the metadata names both")


def test_typ_jwt(server):
    with new_site(server, TOKEN_TYP="JWT") as site:
        key = site.demo()
        assert jwt.get_unverified_header(site.start().access_token(key))["typ"] == "JWT"
