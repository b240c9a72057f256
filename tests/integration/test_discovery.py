# SPDX-License-Identifier: Apache-2.0
"""The published keys and the server's metadata."""
import base64
import json
import re

import jwt
import pytest
from conftest import basic, http_request, new_site, wait_until
from jwcrypto import jwk

JWKS = "/.well-known/jwks.json"
METADATA = "/.well-known/oauth-authorization-server"
OPENID = "/.well-known/openid-configuration"


@pytest.fixture(scope="module")
def site(server):
    with new_site(server, JWKS_MAX_AGE="7m") as fresh:
        fresh.acme_key = fresh.demo()
        fresh.start()
        yield fresh


@pytest.fixture
def instance(site):
    return site.instances[0]


def test_jwks(instance):
    answer = instance.get(JWKS)
    assert answer.status == 200
    assert answer.header("Content-Type").startswith("application/json")
    assert answer.header("Cache-Control") == "public, max-age=420"
    (key,) = answer.json()["keys"]
    assert set(key) == {"kty", "crv", "x", "y", "kid", "use", "alg"}
    assert (key["kty"], key["crv"], key["use"], key["alg"]) == ("EC", "P-256", "sig", "ES256")
    assert all(len(base64.urlsafe_b64decode(key[c] + "=")) == 32 and "=" not in key[c] for c in "xy")
    assert key["kid"] == jwk.JWK.from_json(json.dumps(key)).thumbprint()


def test_etag(instance):
    etag = instance.get(JWKS).header("ETag")
    assert re.fullmatch(r'"[!#-~]+"', etag)
    for value in (etag, "W/" + etag, f'"x", {etag}', "*", f'"a" , W/{etag},"b"'):
        answer = instance.get(JWKS, If_None_Match=value)
        assert (answer.status, answer.body) == (304, b""), value
        assert answer.header("ETag") == etag and answer.header("Cache-Control") == "public, max-age=420"
    for value in ('"x"', etag[1:-1], etag[:-1], "", "W/", etag + "x"):
        assert instance.get(JWKS, If_None_Match=value).status == 200, value


@pytest.mark.parametrize("path", [JWKS, METADATA, OPENID])
def test_head_and_other_methods(instance, path):
    full, head = instance.get(path), instance.request("HEAD", path)
    assert (head.status, head.body) == (200, b"")
    assert head.header("Content-Length") == full.header("Content-Length") == str(len(full.body))
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        answer = instance.request(method, path)
        assert answer.status == 405
        assert {m.strip() for m in answer.header("Allow").split(",")} == {"GET", "HEAD"}


def test_metadata(site, instance):
    document = instance.get(METADATA).json()
    assert document["issuer"] == site.issuer
    assert document["token_endpoint"] == site.issuer + "/oauth2/token"
    assert document["jwks_uri"] == site.issuer + JWKS
    assert document["grant_types_supported"] == ["client_credentials"]
    assert document["response_types_supported"] == ["none"]
    assert set(document["token_endpoint_auth_methods_supported"]) == {
        "client_secret_basic", "client_secret_post", "private_key_jwt"}
    assert document["token_endpoint_auth_signing_alg_values_supported"]
    assert "none" not in document["token_endpoint_auth_signing_alg_values_supported"]
    assert not any(alg.startswith("HS") for alg in document["token_endpoint_auth_signing_alg_values_supported"])
    assert set(document["scopes_supported"]) == {"data:read", "data:write"}
    assert all(value != [] for value in document.values())


def test_openid_metadata(instance):
    document = instance.get(OPENID).json()
    assert document.pop("id_token_signing_alg_values_supported") == ["ES256"]
    assert document.pop("subject_types_supported") == ["public"]
    assert document == instance.get(METADATA).json()


def test_urls_of_the_metadata_work(site, instance):
    document = instance.get(METADATA).json()
    token = instance.access_token(site.acme_key)
    key = jwt.PyJWKClient(document["jwks_uri"]).get_signing_key_from_jwt(token)
    assert jwt.decode(token, key.key, algorithms=["ES256"], audience=site.issuer + "/api", issuer=document["issuer"])


def test_an_issuer_with_a_path(server):
    """Whether the proxy in front cuts the path off or not; and RFC 8414 §3.1 has it at the end of a well-known location."""
    with new_site(server) as site:
        site.issuer += "/t1"
        site.settings["ISSUER"] = site.issuer
        key = site.demo()
        instance = site.start()
        for prefix, suffix in (("/t1", ""), ("", ""), ("", "/t1")):
            document = instance.get(prefix + METADATA + suffix).json()
            assert document["issuer"] == site.issuer and document["jwks_uri"] == site.issuer + JWKS
            assert instance.get(prefix + OPENID + suffix).json()["token_endpoint"] == site.issuer + "/oauth2/token"
        token = http_request(instance.address, "POST", "/t1/oauth2/token", "grant_type=client_credentials", {
            "Content-Type": "application/x-www-form-urlencoded", "Authorization": basic(key["key_id"], key["secret"])})
        key = jwt.PyJWKClient(document["jwks_uri"]).get_signing_key_from_jwt(token.json()["access_token"])
        claims = jwt.decode(token.json()["access_token"], key.key, algorithms=["ES256"], audience=site.issuer + "/api")
        assert claims["iss"] == site.issuer

        admin = {"Authorization": f"Bearer {site.management_token(scope='cardea.platform')}", "Content-Type": "application/json"}
        for prefix in "/t1", "":
            made = http_request(instance.address, "POST", f"{prefix}/v1/tenants", '{"id":"t%d","name":"T"}' % len(prefix), admin)
            assert made.status == 201 and made.header("Location") == f"{prefix}/v1/tenants/t{len(prefix)}"
            assert http_request(instance.address, "GET", made.header("Location"), headers=admin).status == 200
            assert instance.get(f"{prefix}/console").header("Location") == f"{prefix}/console/"
            assert instance.get(f"{prefix}/console/").status == 200
        for path in "/t1", "/t1/", "/t1/t1/oauth2/token", "/t2/oauth2/token", "/t1oauth2/token", "/oauth2/token/t1", METADATA + "/t2":
            assert instance.get(path).status == 404, path
        for path in "/t1/v1/scopes?q=%zz", "/t1/v1/scopes/%ff", "/t1/v1/none", "/v1/scopes/%ff":
            assert instance.get(path).header("Content-Type") == "application/problem+json", path
        assert instance.get("/t1/oauth2/token").status == 405


def test_query_is_ignored(instance):
    assert instance.get(JWKS + "?x=y").status == 200


def test_a_new_scope_appears(site, instance):
    site.scopes("late:scope")
    wait_until(lambda: "late:scope" in instance.get(METADATA).json()["scopes_supported"], "the scope is published")


def test_without_scopes_there_is_no_empty_array(server):
    with new_site(server) as bare:
        document = bare.start().get(METADATA).json()
        assert "scopes_supported" not in document
        assert all(value != [] for value in document.values())


def test_available_without_the_database(postgres):
    with new_site(postgres.url()) as site:
        site.scopes("a:b")
        instance = site.start()
        before = [instance.get(path).body for path in (JWKS, METADATA, OPENID)]
        postgres.stop()
        wait_until(lambda: instance.ops("/readyz").status == 503, "not ready")
        assert [instance.get(path).body for path in (JWKS, METADATA, OPENID)] == before
        postgres.start()


def test_no_private_member_in_any_answer(instance):
    """RFC 7518 §6: d, p, q, dp, dq, qi, k."""
    for key in instance.jwks()["keys"]:
        assert not set(key) & {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


@pytest.mark.parametrize("path", [
    "/.well-known/jwks.json/", "/.well-known//jwks.json", "/.well-known/JWKS.json", "/.well-known", "/jwks.json"])
def test_other_paths(instance, path):
    assert instance.get(path).status == 404
