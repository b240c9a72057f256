# SPDX-License-Identifier: Apache-2.0
"""Keys by the management API: what an admin sets, what is shown, what reaches the token, what is refused."""
import base64
import calendar
import http.client
import json
import pathlib
import re
import subprocess
import time
import urllib.parse

import pytest
from conftest import new_site, wait_until
from jwcrypto import jwk
from management import Api, World, claims_of, etag, fields_of, later

SECRET = re.compile(r"cardea_[0-9A-Za-z]{49}")
MEMBERS = {
    "key_id", "tenant", "name", "description", "scopes", "enabled", "status", "expires_at", "created_at", "created_by",
    "updated_at", "last_used_at", "token_ttl", "audience", "allowed_cidrs", "claims", "auth_method",
    "previous_secret_expires_at"}
GOOD = {"name": "n", "scopes": ["data:read"], "expires_at": "2099-01-01T00:00:00Z"}


@pytest.fixture(scope="module")
def world(server):
    with new_site(server) as site:
        yield World(site)


@pytest.fixture(scope="module")
def admin(world):
    return world.admin


# --- create, show, delete -----------------------------------------------------------------------


def test_create(world, admin):
    answer = admin.post(world.path(), {"name": "Export", "scopes": ["data:write", "data:read"],
                                       "expires_at": "2099-01-01T01:30:00.75+01:30"})
    key = answer.json()
    assert answer.status == 201
    assert set(key) == MEMBERS | {"secret"}
    assert SECRET.fullmatch(key["secret"])
    assert re.fullmatch(r"key_[a-z2-7]{24}", key["key_id"])
    assert answer.header("Location") == world.path(key)
    assert answer.header("ETag") == '"1"'
    assert answer.header("Cache-Control") == "no-store"
    assert key["scopes"] == ["data:read", "data:write"]
    assert key["expires_at"] == "2099-01-01T00:00:00Z"
    assert (key["tenant"], key["enabled"], key["status"]) == ("acme", True, "active")
    assert key["created_by"] == world.keys["admin"]["key_id"]
    assert key["created_at"] == key["updated_at"]
    for name in "description", "last_used_at", "token_ttl", "audience", "allowed_cidrs", "previous_secret_expires_at":
        assert key[name] is None, name
    assert (key["claims"], key["auth_method"]) == ({}, "client_secret")
    assert claims_of(world.server.access_token(key))["scope"] == "data:read data:write"
    shown = admin.get(world.path(key))
    assert shown.json() == {name: value for name, value in key.items() if name != "secret"}
    assert etag(shown) == '"1"'


def test_delete(world, admin):
    key = world.new_key()
    assert world.works(key)
    answer = admin.delete(world.path(key))
    assert (answer.status, answer.body) == (204, b"")
    assert admin.get(world.path(key)).status == 404
    assert admin.delete(world.path(key)).status == 404
    assert not world.works(key)


def test_disabled_at_once(world, admin):
    key = world.new_key()
    for enabled in (False, True, False):
        answer = admin.patch(world.path(key), {"enabled": enabled})
        assert answer.json()["status"] == ("active" if enabled else "disabled")
        assert world.works(key) is enabled


def test_created_disabled(world):
    key = world.new_key(enabled=False)
    assert (key["enabled"], key["status"]) == (False, "disabled")
    assert not world.works(key)


def test_data_stays_data(world, admin):
    """Markup, quotes, direction-changing and other characters: shown as they were sent, escaped where that matters."""
    name = "<script>alert('x')</script> & \"\\ \u202e \u2028 \U0001f511 \u00a0%00 ${x} {{y}}"
    answer = admin.post(world.path(), dict(GOOD, name=name, description=name))
    assert answer.json()["name"] == answer.json()["description"] == name
    assert b"<" not in answer.body and "\u2028".encode() not in answer.body
    assert admin.get(world.path(answer.json())).json()["name"] == name
    found = admin.get(world.path() + "?q=" + urllib.parse.quote("{{Y}}"))
    assert [key["name"] for key in found.json()["items"]] == [name]


# --- bad input ----------------------------------------------------------------------------------

NOT_JSON = {
    "nothing": b"", "blank": b"  ", "cut": b'{"name":', "array": b"[]", "number": b"3", "null": b"null",
    "text after": json.dumps(GOOD).encode() + b" x", "two values": b"{}{}",
    "name twice": b'{"name":"a","name":"b","scopes":["data:read"],"expires_at":"2099-01-01T00:00:00Z"}',
    "name twice, escaped": b'{"name":"a","\\u006eame":"b","scopes":["data:read"],"expires_at":"2099-01-01T00:00:00Z"}',
    "bad UTF-8": b'{"name":"\xff"}', "surrogate": b'{"name":"\xed\xa0\x80"}', "lone surrogate": b'{"name":"\\ud800"}',
    "overlong": b'{"name":"\xc0\x80"}', "NUL": b'{"name":"a\x00b"}', "escaped NUL": b'{"name":"a\\u0000b"}',
    "NUL in a name": b'{"na\\u0000me":1}', "depth": b'{"claims":' + b"[" * 2000 + b"]" * 2000 + b"}",
    "byte order mark": b"\xef\xbb\xbf{}", "UTF-16": json.dumps(GOOD).encode("utf-16"), "single quotes": b"{'name':'a'}",
    "comma at the end": b'{"name":"a",}', "comment": b"{/**/}", "NaN": b'{"token_ttl":NaN}', "huge": b'{"token_ttl":1e999}',
    "many digits": b'{"token_ttl":' + b"9" * 400 + b"}", "control character": b'{"name":"a\tb"}',
    "unknown member": json.dumps(dict(GOOD, colour="red")).encode(), "tenant": json.dumps(dict(GOOD, tenant="other")).encode(),
    "key_id": json.dumps(dict(GOOD, key_id="key_" + "a" * 24)).encode(),
    "secret": json.dumps(dict(GOOD, secret="cardea_")).encode(),
    "created_by": json.dumps(dict(GOOD, created_by="me")).encode(), "status": json.dumps(dict(GOOD, status="active")).encode(),
    "unknown and wrong": json.dumps(dict(GOOD, name=7, colour="red")).encode(),
    "prototype": json.dumps(dict(GOOD, __proto__={})).encode(),
}


@pytest.mark.parametrize("case", NOT_JSON)
def test_bad_bodies(world, admin, case):
    before = world.count("api_key")
    answer = admin.post(world.path(), NOT_JSON[case])
    assert answer.status == 400, answer
    assert answer.header("Content-Type") == "application/problem+json"
    assert world.count("api_key") == before


def test_connection_survives_a_bad_body(world, admin):
    """An error of the application ends no connection."""
    conn = http.client.HTTPConnection(*world.server.address)
    for body, status in ("{", 400), (json.dumps(GOOD), 201), ("{}", 422), (json.dumps(GOOD), 201):
        conn.request("POST", world.path(), body, {"Authorization": f"Bearer {admin.token}", "Content-Type": "application/json"})
        answer = conn.getresponse()
        assert answer.status == status
        answer.read()
    conn.close()


def test_size(world, admin):
    def body(size):
        text = json.dumps(dict(GOOD, description=""))
        return text + " " * (size - len(text))
    assert admin.post(world.path(), body(64 << 10)).status == 201
    assert admin.post(world.path(), body((64 << 10) + 1)).status == 413
    assert admin.post(world.path(), body(10 << 20)).status == 413


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", "application/json5", "text/json",
                                   "application/json; charset=utf-16", "application/merge-patch+json", "multipart/form-data"])
def test_media_types(world, admin, media):
    assert admin.post(world.path(), GOOD, media=media).status == 415


def test_compressed(world, admin):
    assert admin.post(world.path(), GOOD, Content_Encoding="gzip").status == 415


WRONG = {
    "name": ["", 7, None, [], "a\u0000b"[:1] * 201, "\u00e9" * 201, "\U0001f511" * 201, "tab\t", "line\nfeed", "\x7f", "\u0085", "\x1b[31m"],
    "description": [7, "x" * 1001, "a\nb", {}],
    "scopes": [None, [], "data:read", {}, ["data:read", "cardea.read"], ["cardea.platform"], ["data:read"] * 65],
    "expires_at": [None, "", "tomorrow", "2020-01-01T00:00:00Z", "2099-01-01", "2099-01-01T00:00:00", "2099-13-01T00:00:00Z",
                   "2099-02-30T00:00:00Z", 4070908800, True],
    "enabled": [None, "true", 1, 0, []],
    "token_ttl": [9, 86401, 0, -1, 60.5, "60", True, 2**40],
    "audience": ["x", [], ["a"] * 3 + [str(n) for n in range(9)], {}],
    "allowed_cidrs": ["10.0.0.0/8", [], [f"10.0.0.{n}" for n in range(33)]],
    "claims": ["x", [], {"iss": "x"}, {"sub": 1}, {"aud": 1}, {"exp": 1}, {"nbf": 1}, {"iat": 1}, {"jti": 1}, {"scope": 1},
               {"client_id": 1}, {"tenant": 1}, {"x": "y" * 2048}, {"x": [[[[[[[[1]]]]]]]]}],
    "jwks": ["x", [], {}, {"keys": []}, {"keys": [{"kty": "oct", "k": "AAAA"}]}, {"keys": ["x"]}],
}
WRONG_ITEMS = {
    "scopes": ["", "a b", "ü", 'x"y', "x\\y", "x" * 129, 7, None, "no:such"],
    "audience": ["", "a b", "ü", "x" * 256, 7, None],
    "allowed_cidrs": ["", "10.0.0.1/8", "10.0.0.0/33", "2001:db8::1/32", "::/129", "example.com", "010.0.0.1", "10.0.0",
                      "10.0.0.0/08", "10.0.0.0/-1", "fe80::1%lo", "[::1]", "::ffff:10.0.0.1/24", 7, None, " ::1"],
}


@pytest.mark.parametrize("field", WRONG)
def test_wrong_fields(world, admin, field):
    for value in WRONG[field]:
        assert fields_of(admin.post(world.path(), dict(GOOD, **{field: value}))) == {field}, value
    if field in ("name", "scopes", "expires_at"):
        assert fields_of(admin.post(world.path(), {k: v for k, v in GOOD.items() if k != field})) == {field}


@pytest.mark.parametrize("field", WRONG_ITEMS)
def test_wrong_items(world, admin, field):
    good = {"scopes": "data:read", "audience": "x", "allowed_cidrs": "::1"}[field]
    for value in WRONG_ITEMS[field]:
        assert fields_of(admin.post(world.path(), dict(GOOD, **{field: [good, value]}))) == {f"{field}[1]"}, value


def test_every_wrong_field_at_once(world, admin):
    body = {"name": "", "description": 1, "scopes": ["data:read", "no:such", "b ad"], "expires_at": "x", "enabled": "y",
            "token_ttl": 1, "audience": ["ok", " "], "allowed_cidrs": ["1.2.3.4/8"], "claims": {"iss": 1}, "jwks": {}}
    fields = {"name", "description", "scopes[1]", "scopes[2]", "expires_at", "enabled", "token_ttl", "audience[1]",
              "allowed_cidrs[0]", "claims", "jwks"}
    assert fields_of(admin.post(world.path(), body)) == fields
    key = world.new_key()
    assert fields_of(admin.patch(world.path(key), dict(body, key_id="x", secret="y"))) == fields | {"key_id", "secret"}
    assert admin.get(world.path(key)).json()["name"] == key["name"]


def test_issuer_is_no_audience(world, admin):
    for audience in world.site.issuer, world.site.issuer + "/":
        assert fields_of(admin.post(world.path(), dict(GOOD, audience=[audience]))) == {"audience[0]"}


def test_a_management_key_has_no_audience(world, admin):
    """Its tokens are for this server: what was stored would never be in one."""
    body = dict(GOOD, scopes=["cardea.read"], audience=["https://api.example"])
    assert fields_of(admin.post(world.path(), body)) == {"audience"}
    assert admin.post(world.path(), dict(body, audience=None)).status == 201
    key = admin.post(world.path(), dict(GOOD, audience=["https://api.example"])).json()
    assert fields_of(admin.patch(world.path(key), {"scopes": ["cardea.read"]})) == {"audience"}
    assert admin.patch(world.path(key), {"scopes": ["cardea.read"], "audience": None}).status == 200
    assert fields_of(admin.patch(world.path(key), {"audience": ["https://api.example"]})) == {"audience"}
    world.site.sql("UPDATE api_key SET audience = '{x}' WHERE key_id = %s", key["key_id"])  # stored by an older version
    assert admin.patch(world.path(key), {"name": "other"}).status == 200


def test_limits_that_fit(world):
    key = world.new_key(world.admin, name="n" * 200, description="d" * 1000, token_ttl=86400,
                        audience=[f"{n}" + "a" * 254 for n in range(8)], allowed_cidrs=[f"10.{n}.0.0/16" for n in range(32)],
                        claims={"x": "y" * 2038}, expires_at="9999-12-31T23:59:59Z")
    assert world.works(key) is False  # its networks are elsewhere
    world.admin.patch(world.path(key), {"allowed_cidrs": None})
    claims = claims_of(world.server.access_token(key))
    assert claims["exp"] - claims["iat"] == 86400
    assert len(claims["aud"]) == 8 and len(claims["x"]) == 2038


@pytest.mark.parametrize("letter", ["\u00e9", "\u20ac", "\U0001f511"])
def test_limits_count_characters(world, letter):
    """As the description's maxLength does; how many bytes a letter takes is nobody's business."""
    key = world.new_key(world.admin, name=letter * 200, description=letter * 1000)
    assert (key["name"], key["description"]) == (letter * 200, letter * 1000)
    found = world.admin.get(world.path() + "?q=" + urllib.parse.quote(letter * 200)).json()["items"]
    assert [item["key_id"] for item in found] == [key["key_id"]]


# --- rights over scopes -------------------------------------------------------------------------


def test_no_escalation(world, admin):
    assert fields_of(admin.post(world.path(), dict(GOOD, scopes=["cardea.platform"]))) == {"scopes"}
    assert fields_of(admin.post(world.path(), dict(GOOD, scopes=["cardea.admin", "cardea.platform"]))) == {"scopes"}
    assert fields_of(admin.post(world.path(), dict(GOOD, scopes=["cardea.other"]))) == {"scopes[0]"}
    mine = world.keys["admin"]
    assert fields_of(admin.patch(world.path(mine), {"scopes": ["cardea.admin", "cardea.platform"]})) == {"scopes"}
    assert fields_of(admin.patch(world.path(mine), {"scopes": ["cardea.admin", "data:read"]})) == {"scopes"}
    for scopes in (["cardea.admin"], ["cardea.read"], ["cardea.admin", "cardea.read"]):
        assert admin.post(world.path(), dict(GOOD, scopes=scopes)).status == 201
    assert fields_of(world.platform.post(world.path(), dict(GOOD, scopes=["cardea.platform", "data:read"]))) == {"scopes"}


def test_platform_key_in_a_tenant(world, admin):
    """Its tenant's admin sees it and cannot touch it."""
    key = world.new_key(scopes=["cardea.platform"])
    assert admin.get(world.path(key)).json()["scopes"] == ["cardea.platform"]
    for answer in (admin.patch(world.path(key), {"name": "mine"}), admin.patch(world.path(key), {"scopes": ["data:read"]}),
                   admin.delete(world.path(key)), admin.post(world.path(key, "/secret"))):
        assert answer.status == 403 and "cardea.platform" in answer.json()["detail"]
    assert world.works(key)
    assert world.platform.patch(world.path(key), {"name": "ours"}).status == 200
    assert world.platform.delete(world.path(key)).status == 204


# --- merge patch --------------------------------------------------------------------------------


def test_patch_changes_what_it_names(world, admin):
    key = world.new_key(description="d", token_ttl=60, audience=["a"], claims={"a": 1, "b": {"c": 2, "d": 3}})
    steps = [
        ({"name": "new"}, {"name": "new"}),
        ({}, {}),
        ({"description": None}, {"description": None}),
        ({"description": "again"}, {"description": "again"}),
        ({"token_ttl": None, "audience": None}, {"token_ttl": None, "audience": None}),
        ({"claims": {"a": None, "b": {"c": [1], "e": "f"}}}, {"claims": {"b": {"c": [1], "d": 3, "e": "f"}}}),
        ({"claims": {"b": "flat"}}, {"claims": {"b": "flat"}}),
        ({"claims": {"b": {"deep": {"none": None}}}}, {"claims": {"b": {"deep": {}}}}),
        ({"claims": None}, {"claims": {}}),
        ({"claims": {"x": [1, None, {"y": None}]}}, {"claims": {"x": [1, None, {"y": None}]}}),
        ({"scopes": ["data:write"]}, {"scopes": ["data:write"]}),
        ({"allowed_cidrs": ["127.0.0.0/8"]}, {"allowed_cidrs": ["127.0.0.0/8"]}),
        ({"expires_at": "2098-01-01T00:00:00Z"}, {"expires_at": "2098-01-01T00:00:00Z"}),
    ]
    now = admin.get(world.path(key)).json()
    for patch, changed in steps:
        before = etag(admin.get(world.path(key)))
        answer = admin.patch(world.path(key), patch)
        assert answer.status == 200, (patch, answer)
        now.update(changed, updated_at=answer.json()["updated_at"])
        assert answer.json() == now, patch
        assert etag(answer) != before
        assert admin.get(world.path(key)).json() == now


def test_patch_required(world, admin):
    key = world.new_key()
    for field in "name", "scopes", "expires_at", "enabled":
        assert fields_of(admin.patch(world.path(key), {field: None})) == {field}
    assert fields_of(admin.patch(world.path(key), {"name": None, "scopes": None, "enabled": None})) == {"name", "scopes", "enabled"}


def test_patch_read_only(world, admin):
    key = world.new_key()
    shown = admin.get(world.path(key)).json()
    read_only = MEMBERS - set(GOOD) - {"description", "enabled", "token_ttl", "audience", "allowed_cidrs", "claims"}
    for field in read_only | {"secret"}:
        assert fields_of(admin.patch(world.path(key), {field: shown.get(field), "name": "x"})) == {field}
    assert fields_of(admin.patch(world.path(key), {**shown, "name": 7})) == read_only | {"name"}
    assert admin.get(world.path(key)).json() == shown


@pytest.mark.parametrize("body", [b'{"colour":null}', b'{"colour":1}', b"[]", b"null", b'[{"op":"remove","path":"/name"}]', b"",
                                  b'{"name":"a","name":"b"}'])
def test_patch_bad_bodies(world, admin, body):
    key = world.keys["api"]
    assert admin.patch(world.path(key), body).status == 400


def test_patch_media_types(world, admin):
    key = world.new_key()
    for media, status in ("application/json", 200), ("application/merge-patch+json", 200), \
            ("application/merge-patch+json; charset=utf-8", 200), ("application/json-patch+json", 415), ("text/plain", 415):
        assert admin.patch(world.path(key), {"name": "x"}, media=media).status == status


def test_if_match(world, admin):
    key = world.new_key()
    first = etag(admin.get(world.path(key)))
    second = etag(admin.patch(world.path(key), {"name": "x"}, If_Match=first))
    assert second not in (None, first)
    for stale in first, '"0"', '"99"', '"x"', f"W/{second}", f'{first}, "77"':
        assert admin.patch(world.path(key), {"name": "y"}, If_Match=stale).status == 412
        assert admin.delete(world.path(key), If_Match=stale).status == 412
        assert admin.post(world.path(key, "/secret"), {}, If_Match=stale).status == 412
    for odd in "1", '"1', "", "W/", '"1" "2"':
        assert admin.patch(world.path(key), {"name": "y"}, If_Match=odd).status == 400, odd
    assert admin.get(world.path(key)).json()["name"] == "x"
    third = etag(admin.patch(world.path(key), {"name": "z"}, If_Match=f"{first}, {second}"))
    fourth = etag(admin.post(world.path(key, "/secret"), {}, If_Match=third))
    assert admin.patch(world.path(key), {"name": "any"}, If_Match="*").status == 200
    assert admin.delete(world.path(key), If_Match=fourth).status == 412
    assert admin.delete(world.path(key), If_Match="*").status == 204
    assert admin.delete(world.path(key), If_Match="*").status == 404


def test_use_does_not_change_the_etag(world, admin):
    key = world.new_key()
    world.server.access_token(key)
    wait_until(lambda: admin.get(world.path(key)).json()["last_used_at"], "the use is flushed")
    answer = admin.get(world.path(key))
    assert etag(answer) == '"1"' and answer.json()["updated_at"] == key["updated_at"]


# --- what reaches the token ---------------------------------------------------------------------


def decoded(token):
    payload = token.split(".")[1]
    return base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)).decode()


def test_optional_fields_reach_the_token(world, admin):
    key = world.new_key()
    claims = claims_of(world.server.access_token(key))
    assert claims["exp"] - claims["iat"] == 600 and claims["aud"] == world.site.issuer + "/api"
    admin.patch(world.path(key), {"token_ttl": 33, "audience": ["https://a.example"], "claims": {"n": [1.5, {"x": None}], "ü": "ß"}})
    claims = claims_of(world.server.access_token(key))
    assert claims["exp"] - claims["iat"] == 33
    assert claims["aud"] == "https://a.example"
    assert (claims["n"], claims["ü"]) == ([1.5, {"x": None}], "ß")
    assert '"rate":0.1,' in decoded(world.server.access_token(world.new_key(claims={"rate": 0.1, "n": 1})))
    admin.patch(world.path(key), {"audience": ["https://a.example", "b"], "scopes": ["data:write"], "claims": {"n": None}})
    claims = claims_of(world.server.access_token(key))
    assert claims["aud"] == ["https://a.example", "b"]
    assert claims["scope"] == "data:write"
    assert "n" not in claims and claims["ü"] == "ß"
    assert claims_of(world.server.access_token(key, resource="https://a.example"))["aud"] == "https://a.example"
    assert world.server.token(key, resource="https://c.example").json()["error"] == "invalid_target"
    admin.patch(world.path(key), {"expires_at": later(seconds=20), "token_ttl": 60})
    claims = claims_of(world.server.access_token(key))
    assert claims["exp"] - claims["iat"] <= 20


def test_allowed_cidrs(world, admin):
    key = world.new_key()
    for cidrs, allowed in ((["127.0.0.0/8"], True), (["127.0.0.1"], True), (["127.0.0.2/32"], False), (["::1"], False),
                           (["10.0.0.0/8", "127.0.0.1/32"], True), (["0.0.0.0/0"], True), (["::/0"], False),
                           (["::ffff:127.0.0.0/104"], True), (None, True)):
        assert admin.patch(world.path(key), {"allowed_cidrs": cidrs}).status == 200
        assert world.works(key) is allowed, cidrs


def test_allowed_cidrs_behind_proxies(server):
    """The address is judged after X-Forwarded-For, as far as the proxies are trusted; IPv6 too."""
    with new_site(server, TRUSTED_PROXIES="127.0.0.1,10.0.0.0/8,2001:db8:ffff::/48") as site:
        world = World(site)
        v4 = world.new_key(allowed_cidrs=["192.0.2.0/24"])
        v6 = world.new_key(allowed_cidrs=["2001:db8:1::/48"])
        proxy = world.new_key(allowed_cidrs=["127.0.0.0/8", "::/0"])  # where the proxy itself is
        cases = [
            (None, [proxy]), ("192.0.2.7", [v4]), ("2001:db8:1::7", [v6, proxy]), ("192.0.3.7", []),
            ("192.0.2.7, 10.1.2.3", [v4]), ("198.51.100.1, 192.0.2.7", [v4]), ("192.0.2.7, 198.51.100.1", []),
            ("2001:db8:1::7, 2001:db8:ffff::1, 10.0.0.1", [v6, proxy]), ("::ffff:192.0.2.7", [v4]),
            ("10.0.0.1", []), ("192.0.2.7:51234", [v4]), ("[2001:db8:1::7]:51234", [v6, proxy]),
            ("192.0.2.7, 10.0.0.1:51234", [v4]), ("203.0.113.9:51234", []),
            # What nobody can read is nobody's address: not the proxy's either.
            ("nonsense", []), ("unknown", []), ("_hidden", []), ("192.0.2.7, nonsense", []), ("192.0.2.7:", []),
            ("192.0.2.7, unknown, 127.0.0.1", []),
        ]
        for header, allowed in cases:
            headers = {"X-Forwarded-For": header} if header else {}
            for key in v4, v6, proxy:
                answer = world.server.token(key, headers=headers)
                assert answer.status == (200 if key in allowed else 401), (header, key["allowed_cidrs"], answer)
        assert world.server.token(world.new_key(), headers={"X-Forwarded-For": "unknown"}).status == 200
        wait_until(lambda: world.server.log_lines(client="unknown", status=200), "the log says so")
        assert world.server.log_lines(client="unknown", reason="address_not_allowed")
        key = world.new_key(scopes=["cardea.admin"], allowed_cidrs=["192.0.2.7"])
        token = world.server.token(key, headers={"X-Forwarded-For": "192.0.2.7"}).json()["access_token"]
        api = Api(world, token)
        assert api.get(world.path()).status == 401
        assert api.get(world.path(), X_Forwarded_For="192.0.2.8").status == 401
        assert api.get(world.path(), X_Forwarded_For="192.0.2.7").status == 200
        made = api.made(world.path(), GOOD, X_Forwarded_For="192.0.2.7, 10.9.9.9")
        assert world.audit(object=made["key_id"])[0]["address"] == "192.0.2.7"


def test_proxies_are_not_trusted_by_themselves(world):
    key = world.new_key(allowed_cidrs=["192.0.2.0/24"])
    assert world.server.token(key, headers={"X-Forwarded-For": "192.0.2.7"}).status == 401


# --- rotation -----------------------------------------------------------------------------------


def test_rotate_at_once(world, admin):
    key = world.new_key()
    for body in None, {}, {"overlap": None}, {"overlap": "0s"}:
        answer = admin.post(world.path(key, "/secret"), body)
        fresh = answer.json()
        assert answer.status == 200
        assert SECRET.fullmatch(fresh["secret"]) and fresh["secret"] != key["secret"]
        assert fresh["previous_secret_expires_at"] is None
        assert set(fresh) == MEMBERS | {"secret"}
        assert not world.works(key) and world.works(fresh)
        key = fresh


def test_rotate_with_overlap(world, admin):
    """Both secrets work until the old one's time is up."""
    key = world.new_key()
    fresh = admin.post(world.path(key, "/secret"), {"overlap": "3s"}).json()
    until = fresh["previous_secret_expires_at"]
    assert until is not None
    assert world.works(key) and world.works(fresh)
    assert admin.get(world.path(key)).json()["previous_secret_expires_at"] == until
    wait_until(lambda: not world.works(key), "the old secret has ended", 10)
    assert world.works(fresh)
    assert admin.get(world.path(key)).json()["previous_secret_expires_at"] is None


def test_overlap_ends_with_the_next_rotation(world, admin):
    key = world.new_key()
    second = admin.post(world.path(key, "/secret"), {"overlap": "30d"}).json()
    third = admin.post(world.path(key, "/secret"), {"overlap": "1h"}).json()
    assert (world.works(key), world.works(second), world.works(third)) == (False, True, True)
    fourth = admin.post(world.path(key, "/secret")).json()
    assert (world.works(second), world.works(third), world.works(fourth)) == (False, False, True)


@pytest.mark.parametrize("overlap", ["", "x", "1", "-1h", "31d", "2592001s", "1.5h", " 1h", 3600, [], True, "9" * 40 + "d"])
def test_bad_overlap(world, admin, overlap):
    key = world.keys["api"]
    assert fields_of(admin.post(world.path(key, "/secret"), {"overlap": overlap})) == {"overlap"}


def test_rotate_unknown_member(world, admin):
    assert admin.post(world.path(world.keys["api"], "/secret"), {"ttl": "1h"}).status == 400


def test_disabled_key_rotates_and_stays_disabled(world, admin):
    key = world.new_key(enabled=False)
    fresh = admin.post(world.path(key, "/secret"), {"overlap": "1h"}).json()
    assert fresh["status"] == "disabled" and not world.works(fresh) and not world.works(key)


# --- keys without a secret ----------------------------------------------------------------------


def public_set(*keys):
    return {"keys": [json.loads(key.export_public()) for key in keys]}


def test_key_with_public_keys(world, admin):
    first, second = (jwk.JWK.generate(kty="EC", crv="P-256") for _ in range(2))
    key = admin.made(world.path(), dict(GOOD, jwks=public_set(first)))
    assert "secret" not in key and key["auth_method"] == "private_key_jwt"
    assert key["jwks"] == public_set(first)
    assert admin.post(world.path(key, "/secret")).status == 409
    answer = admin.patch(world.path(key), {"jwks": public_set(second)})
    assert answer.json()["jwks"] == public_set(second) and "secret" not in answer.json()
    assert fields_of(admin.patch(world.path(key), {"jwks": None})) == {"jwks"}
    assert fields_of(admin.patch(world.path(world.keys["api"]), {"jwks": public_set(first)})) == {"jwks"}
    private = {"keys": [json.loads(first.export_private())]}
    assert fields_of(admin.patch(world.path(key), {"jwks": private})) == {"jwks"}
    large = public_set(first)
    large["keys"][0]["x5c"] = ["A" * 16384]
    assert fields_of(admin.patch(world.path(key), {"jwks": large})) == {"jwks"}


# --- lists --------------------------------------------------------------------------------------


def pages(api, path, **query):
    """All items, page by page."""
    items, cursor = [], None
    while True:
        values = {**query, **({"cursor": cursor} if cursor else {})}
        answer = api.get(path + "?" + urllib.parse.urlencode(values))
        assert answer.status == 200, answer
        items.append(answer.json()["items"])
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return items


def test_list(world):
    world.platform.made("/v1/tenants", {"id": "lists", "name": "L"})
    path = world.path(tenant="lists")
    assert world.platform.get(path).json() == {"items": [], "next_cursor": None}
    keys = [world.new_key(tenant="lists", name=f"Name {n}") for n in range(7)]
    ids = [key["key_id"] for key in keys][::-1]
    world.platform.patch(world.path(keys[0], tenant="lists"), {"enabled": False})
    world.platform.patch(world.path(keys[1], tenant="lists"), {"expires_at": "2020-01-01T00:00:00Z"})
    world.platform.patch(world.path(keys[2], tenant="lists"), {"expires_at": "2020-01-01T00:00:00Z", "enabled": False})
    for limit in 1, 2, 3, 6, 7, 8, 200:
        found = pages(world.platform, path, limit=limit)
        assert [key["key_id"] for page in found for key in page] == ids
        assert all(len(page) == limit for page in found[:-1])
    assert world.platform.get(path).json()["items"] == [world.platform.get(world.path(key_id, tenant="lists")).json()
                                                        for key_id in ids]
    for status, wanted in ("active", ids[:4]), ("disabled", [ids[4], ids[6]]), ("expired", [ids[5]]):
        found = pages(world.platform, path, limit=1, status=status)
        assert [key["key_id"] for page in found for key in page] == wanted
        assert all(key["status"] == status for page in found for key in page)
    for text, wanted in ("name 3", [ids[3]]), ("NAME", ids), (ids[2][4:14], [ids[2]]), (ids[2].upper(), [ids[2]]), ("%", []), \
            ("_", ids), ("nam_", []), ("\\", []), ("' OR 1=1 --", []):
        found = pages(world.platform, path, q=text)
        assert [key["key_id"] for page in found for key in page] == wanted, text
    assert [key["key_id"] for page in pages(world.platform, path, q="name", status="expired") for key in page] == [ids[5]]


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "limit=", "limit=1&limit=2", "limit=-1", "cursor=x",
                                   "cursor=", "cursor=AAAAAAAAAAA", "status=all", "q=%ff", "q=" + "x" * 256,
                                   "q=" + "%C3%A9" * 256])
def test_bad_queries(world, admin, query):
    assert admin.get(world.path() + "?" + query).status == 400


def test_list_with_large_keys(world):
    """A page is bounded in bytes too; the cursor leads on."""
    world.platform.made("/v1/tenants", {"id": "large", "name": "L"})
    text = "<" * 150
    key = world.new_key(tenant="large", name=text, description="<" * 1000, audience=["<" * 250 + str(n) for n in range(8)],
                        claims={"x": "y" * 2000})
    fields = "name, description, scopes, expires_at, audience, claims, secret_mac, secret_seal, created_by"
    world.site.sql(f"INSERT INTO api_key (key_id, tenant_id, {fields}) SELECT 'key_' || translate(lpad(to_hex(n), 24, 'a'),"
                   f" '0189', 'wxyz'), tenant_id, {fields} FROM api_key, generate_series(1, 150) AS n WHERE key_id = %s",
                   key["key_id"])
    found = pages(world.platform, world.path(tenant="large"), limit=200)
    assert len({key["key_id"] for page in found for key in page}) == sum(map(len, found)) == 151
    assert len(found) > 1


# --- last used ----------------------------------------------------------------------------------


def test_last_used(server):
    """Shown within seconds, to the minute; one write, whatever the number of tokens."""
    def writes():
        return site.sql("SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'api_key'")[0][0]

    def shown():
        return world.admin.get(world.path(key)).json()["last_used_at"]

    with new_site(server) as site:
        world = World(site)
        key = world.new_key()
        assert key["last_used_at"] is None
        before = int(time.time())
        for _ in range(60):
            world.server.access_token(key)
        used = wait_until(shown, "the use is flushed")
        assert before <= calendar.timegm(time.strptime(used, "%Y-%m-%dT%H:%M:%SZ")) <= time.time()
        for _ in range(60):
            world.server.access_token(key)
        time.sleep(4)  # longer than a flush takes to come
        assert shown() == used
        # Sessions report what they wrote when they have been idle for a second.
        assert 0 < wait_until(writes, "the writes are counted") <= 2 * 6, "six keys, once or by two workers at first"


def test_refused_request_is_no_use(world, admin):
    key = world.new_key()
    assert not world.works(key, key["secret"][:-1] + ("x" if key["secret"][-1] != "x" else "y"))
    world.server.token(key, scope="no:such")
    other = world.new_key()
    world.server.access_token(other)
    wait_until(lambda: admin.get(world.path(other)).json()["last_used_at"], "the use is flushed")
    assert admin.get(world.path(key)).json()["last_used_at"] is None


def test_last_used_survives_sigterm(server):
    with new_site(server) as site:
        world = World(site)
        keys = [world.new_key() for _ in range(20)]
        for key in keys:
            world.server.access_token(key)
        world.server.stop()
        ids = [key["key_id"] for key in keys]
        assert site.sql("SELECT count(*) FROM api_key WHERE key_id = ANY (%s) AND last_used_at IS NOT NULL", ids)[0][0] == 20


# --- the secret is shown once -------------------------------------------------------------------


def test_secret_is_nowhere_else(server):
    """Not in lists, objects, audit, logs, or what pg_dump gives; neither the tokens that were signed."""
    with new_site(server) as site:
        world = World(site, LOG_LEVEL="debug")
        secrets = [key["secret"] for key in world.keys.values()]
        key = world.new_key(world.admin)
        secrets.append(key["secret"])
        for body in {}, {"overlap": "1h"}:
            secrets.append(world.admin.post(world.path(key, "/secret"), body).json()["secret"])
        token = world.server.access_token(dict(key, secret=secrets[-1]))
        world.server.token(key)  # a wrong one by now
        world.admin.patch(world.path(key), {"name": "x", "secret": secrets[-1]})
        world.admin.post(world.path(), {"name": secrets[-1], "colour": 1})
        world.admin.get(world.path() + "?q=" + secrets[-1])
        seen = [world.admin.get(world.path(key)).body, world.admin.get(world.path()).body,
                world.platform.get("/v1/audit?limit=200").body]
        pg_dump = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/pg_dump"))[-1]
        seen.append(subprocess.run([pg_dump, "-d", site.database], check=True, capture_output=True).stdout)
        seen.append(world.server.log().encode())
        assert b"CREATE TABLE" in seen[3] and key["key_id"].encode() in seen[3] and key["key_id"].encode() in seen[4]
        for secret in secrets:
            core = secret[len("cardea_"):]
            for form in secret, core, core[:43], core.encode().hex(), base64.b64encode(secret.encode()).decode():
                assert not any(form.encode() in text for text in seen), form
        for signature in token.split(".")[2], world.admin.token.split(".")[2]:
            assert not any(signature.encode() in text for text in seen)


def test_no_core_dump(world):
    limits = open(f"/proc/{world.server.process.pid}/limits").read()
    assert re.search(r"Max core file size +0 +0", limits)
