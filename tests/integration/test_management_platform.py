# SPDX-License-Identifier: Apache-2.0
"""Tenants, the catalog of scopes, signing keys and the audit log: what platform admins look after."""
import urllib.parse

import pytest
from conftest import new_site, wait_until
from management import Api, World, etag, fields_of, later, numbers


@pytest.fixture(scope="module")
def world(server):
    with new_site(server) as site:
        yield World(site)


@pytest.fixture(scope="module")
def platform(world):
    return world.platform


def new_tenant(world, **fields):
    return world.platform.made("/v1/tenants", {"id": f"t{next(numbers)}", "name": "A tenant", **fields})


def new_scope(world):
    name = f"s{next(numbers)}:read"
    assert world.platform.put(f"/v1/scopes/{name}", {"title": "T"}).status == 201
    return name


# --- tenants ------------------------------------------------------------------------------------


def test_tenant(world, platform):
    name = "<A> \u202e & co"
    answer = platform.post("/v1/tenants", {"id": "a-1", "name": name})
    assert answer.status == 201
    tenant = answer.json()
    assert (tenant["id"], tenant["name"], tenant["enabled"]) == ("a-1", name, True)
    assert answer.header("Location") == "/v1/tenants/a-1"
    assert platform.get("/v1/tenants/a-1").json() == tenant
    assert platform.post("/v1/tenants", {"id": "a-1", "name": "B"}).status == 409
    changed = platform.patch("/v1/tenants/a-1", {"name": "B"}, If_Match=etag(answer))
    assert changed.json()["name"] == "B" and changed.json()["enabled"] is True
    for method in platform.patch, lambda path, body, **headers: platform.delete(path, **headers):
        assert method("/v1/tenants/a-1", {"name": "C"}, If_Match=etag(answer)).status == 412
    assert platform.delete("/v1/tenants/a-1", If_Match=etag(changed)).status == 204
    for answer in platform.get("/v1/tenants/a-1"), platform.delete("/v1/tenants/a-1"), platform.patch("/v1/tenants/a-1", {}):
        assert answer.status == 404


@pytest.mark.parametrize("tenant", ["", "-", "-a", "A", "a_b", "a.b", "ü", "a" * 64, "a b", "a/b", "a\n", 7, None, ["a"]])
def test_bad_tenant_ids(platform, tenant):
    assert fields_of(platform.post("/v1/tenants", {"id": tenant, "name": "N"})) == {"id"}


@pytest.mark.parametrize("tenant", ["a", "0", "a" * 63, "a-", "0-0", "null"])
def test_good_tenant_ids(platform, tenant):
    assert platform.post("/v1/tenants", {"id": tenant, "name": "N"}).status == 201
    assert platform.get(f"/v1/tenants/{tenant}/keys").json()["items"] == []
    assert platform.delete(f"/v1/tenants/{tenant}").status == 204


def test_bad_tenants(world, platform):
    assert fields_of(platform.post("/v1/tenants", {})) == {"id", "name"}
    assert fields_of(platform.post("/v1/tenants", {"id": "A", "name": "a\tb", "enabled": None})) == {"id", "name", "enabled"}
    assert platform.post("/v1/tenants", {"id": "x", "name": "N", "plan": "gold"}).status == 400
    tenant = new_tenant(world)
    path = f"/v1/tenants/{tenant['id']}"
    for name in "", "x" * 201, "\u00e9" * 201, None, 7, "\x00"[:0] + "\u009f":
        assert fields_of(platform.patch(path, {"name": name})) == {"name"}
    assert fields_of(platform.patch(path, {"enabled": None, "id": "x", "created_at": None})) == {"enabled", "id", "created_at"}
    assert platform.patch(path, {"plan": None}).status == 400
    assert platform.get(path).json() == tenant


def test_tenant_created_disabled(world):
    tenant = new_tenant(world, enabled=False)
    assert tenant["enabled"] is False
    key = world.new_key(tenant=tenant["id"])
    assert not world.works(key)
    assert world.platform.patch(f"/v1/tenants/{tenant['id']}", {"enabled": True}).status == 200
    assert world.works(key)


def test_tenant_with_keys_stays(world, platform):
    tenant = new_tenant(world)["id"]
    key = world.new_key(tenant=tenant)
    assert platform.delete(f"/v1/tenants/{tenant}").status == 409
    assert world.works(key)
    assert platform.delete(world.path(key, tenant=tenant)).status == 204
    assert platform.delete(f"/v1/tenants/{tenant}").status == 204
    # An ID may come back; the old log is still its own.
    assert platform.post("/v1/tenants", {"id": tenant, "name": "again"}).status == 201
    assert "tenant.delete" in [entry["action"] for entry in world.audit(tenant)]


def test_list_tenants(world, platform):
    made = [new_tenant(world, name=f"Listed {n}")["id"] for n in range(5)][::-1]
    found, cursor = [], ""
    while cursor is not None:
        page = platform.get("/v1/tenants?limit=2&q=LISTED" + (f"&cursor={cursor}" if cursor else "")).json()
        found += [tenant["id"] for tenant in page["items"]]
        cursor = page["next_cursor"]
    assert found == made
    assert [tenant["id"] for tenant in platform.get(f"/v1/tenants?q={made[0]}").json()["items"]] == [made[0]]


def test_key_of_an_unknown_tenant(world, platform):
    body = {"name": "n", "scopes": ["data:read"], "expires_at": later(days=1)}
    assert platform.post("/v1/tenants/nowhere/keys", body).status == 404
    assert platform.get("/v1/tenants/nowhere/keys").status == 404


# --- scopes -------------------------------------------------------------------------------------


def test_scope(world, platform):
    made = platform.put("/v1/scopes/invoice:read", {"title": "Read <invoices>", "description": "d"})
    assert (made.status, made.json()) == (201, {"name": "invoice:read", "title": "Read <invoices>", "description": "d"})
    again = platform.put("/v1/scopes/invoice:read", {"name": "invoice:read", "title": "T"})
    assert (again.status, again.json()) == (200, {"name": "invoice:read", "title": "T", "description": ""})
    for api in world.read, world.admin, platform, world.stranger:
        assert api.get("/v1/scopes/invoice:read").json() == again.json()
        names = [scope["name"] for scope in api.get("/v1/scopes").json()["items"]]
        assert "invoice:read" in names and names == sorted(names)
        assert not any(name.startswith("cardea.") for name in names)
    assert platform.delete("/v1/scopes/invoice:read").status == 204
    for answer in platform.delete("/v1/scopes/invoice:read"), platform.get("/v1/scopes/invoice:read"):
        assert answer.status == 404


@pytest.mark.parametrize("name", ["a", "!", "~", "a:b.c-d_e", "#?&=+%", "[x]", "x" * 128, "..x"])
def test_good_scope_names(platform, name):
    path = "/v1/scopes/" + urllib.parse.quote(name, safe="")
    assert platform.put(path, {"title": "T"}).json()["name"] == name
    assert platform.get(path).json()["name"] == name
    assert platform.delete(path).status == 204


@pytest.mark.parametrize("name", ["a b", 'a"b', "ü", "x" * 129, "cardea.admin", "cardea.new", "a\x7f", "a\tb"])
def test_bad_scope_names(platform, name):
    path = "/v1/scopes/" + urllib.parse.quote(name, safe="")
    assert fields_of(platform.put(path, {"title": "T"})) == {"name"}
    assert platform.get(path).status == 404
    assert platform.delete(path).status == 404


@pytest.mark.parametrize("name", ["a/b", "..", "a\\b", "\x00", "\xff"])
def test_scope_names_that_no_path_can_say(world, platform, name):
    """HTTP refuses them before the API is asked."""
    path = "/v1/scopes/" + urllib.parse.quote(name.encode("latin-1"), safe="").replace(".", "%2e")
    headers = {"Authorization": f"Bearer {platform.token}", "Content-Type": "application/json"}
    assert world.server.request("PUT", path, '{"title":"T"}', headers).status == 400


def test_bad_scopes(platform):
    assert fields_of(platform.put("/v1/scopes/x", {})) == {"title"}
    assert fields_of(platform.put("/v1/scopes/x", {"title": "", "description": "a\nb", "name": "y"})) == {"title", "description",
                                                                                                      "name"}
    assert platform.put("/v1/scopes/x", {"title": "T", "builtin": True}).status == 400
    assert platform.get("/v1/scopes/x").status == 404


def test_management_scopes_stay(world, platform):
    for name in "cardea.admin", "cardea.read", "cardea.platform":
        assert platform.delete(f"/v1/scopes/{name}").status == 404
    assert world.site.sql("SELECT count(*) FROM scope WHERE builtin") == [(3,)]


def test_scope_in_use_stays(world, platform):
    scope = new_scope(world)
    key = world.new_key(scopes=[scope, "data:read"])
    assert platform.delete(f"/v1/scopes/{scope}").status == 409
    assert platform.patch(world.path(key), {"scopes": ["data:read"]}).status == 200
    assert platform.delete(f"/v1/scopes/{scope}").status == 204


def test_full_catalog(server):
    with new_site(server) as site:
        world = World(site)
        site.sql("INSERT INTO scope (name, title) SELECT 'full:' || n, 'T' FROM generate_series(1, 998) AS n")
        assert len(world.platform.get("/v1/scopes").json()["items"]) == 1000
        answer = world.platform.put("/v1/scopes/one:more", {"title": "T"})
        assert answer.status == 409 and "1,000" in answer.json()["detail"]
        assert world.platform.put("/v1/scopes/full:1", {"title": "changed"}).status == 200


# --- signing keys -------------------------------------------------------------------------------


def test_signing_keys(server):
    with new_site(server, JWKS_MAX_AGE="5s", JWKS_MARGIN="1s") as site:
        world = World(site)
        first, = world.platform.get("/v1/signing-keys").json()["items"]
        assert first["state"] == "signing" and first["alg"] == "ES256"
        assert [key["kid"] for key in world.server.jwks()["keys"]] == [first["kid"]]
        made = world.platform.post("/v1/signing-keys")
        assert world.platform.get("/v1/audit?limit=1").json()["items"][0]["changes"] == {"alg": [None, "ES256"],
                                                                                         "state": [None, "announced"]}
        assert made.status == 201 and made.json()["state"] == "announced" and made.json()["activated_at"] is None
        again = world.platform.post("/v1/signing-keys", {})
        assert (again.status, again.json()) == (200, made.json())
        wait_until(lambda: len(world.server.jwks()["keys"]) == 2, "the new key is published")
        wait_until(lambda: {key["kid"]: key["state"] for key in world.platform.get("/v1/signing-keys").json()["items"]}
                   == {first["kid"]: "retired", made.json()["kid"]: "signing"}, "the new key signs")
        assert [entry["action"] for entry in world.platform.get("/v1/audit").json()["items"] if entry["object"]
                == made.json()["kid"]] == ["signing_key.activate", "signing_key.announce"]


def test_emergency(server):
    """Tokens of the withdrawn key are refused here as well."""
    with new_site(server) as site:
        world = World(site)
        world.platform.post("/v1/signing-keys")
        answer = world.platform.post("/v1/signing-keys", {"emergency": True})
        assert answer.status == 201 and answer.json()["state"] == "signing" and "warning" in answer.json()
        assert [key["kid"] for key in world.server.jwks()["keys"]] == [answer.json()["kid"]], "older keys are gone"
        assert all(world.platform.get("/v1/tenants").status == 401 for _ in range(20)), "every worker knows"


@pytest.mark.parametrize("body,status", [({"emergency": "yes"}, 422), ({"emergency": 1}, 422), ({"now": True}, 400), ([], 400),
                                         ("{", 400), ({"emergency": None}, 200), ({"emergency": False}, 200)])
def test_bad_rotations(world, platform, body, status):
    platform.post("/v1/signing-keys")
    assert platform.post("/v1/signing-keys", body).status == status


# --- the audit log ------------------------------------------------------------------------------


def test_audit_pages(world, platform):
    tenant = new_tenant(world)["id"]
    key = world.new_key(tenant=tenant)
    for n in range(6):
        platform.patch(world.path(key, tenant=tenant), {"name": f"n{n}"})
    path = f"/v1/tenants/{tenant}/audit"
    for limit in 1, 3, 4, 8, 200:
        found, cursor = [], ""
        while cursor is not None:
            page = platform.get(f"{path}?limit={limit}" + (f"&cursor={cursor}" if cursor else "")).json()
            assert len(page["items"]) <= limit
            found += page["items"]
            cursor = page["next_cursor"]
        assert [entry["action"] for entry in found] == ["key.update"] * 6 + ["key.create", "tenant.create"]
        assert [entry["changes"].get("name", [0, 0])[1] for entry in found[:6]] == [f"n{n}" for n in range(6)][::-1]


def test_audit_of_no_tenant(world, platform):
    """A tenant that never was has no log; one that is has one, even without entries."""
    for name in "never-was", "NO%20ID":
        assert platform.get(f"/v1/tenants/{name}/audit").status == 404
    world.site.sql("INSERT INTO tenant (id, name) VALUES ('silent', 'S')")
    assert platform.get("/v1/tenants/silent/audit").json() == {"items": [], "next_cursor": None}


def test_audit_of_a_tenant_with_the_id_of_another(world, platform):
    """What was logged of a deleted tenant is not for the admins of the next one that gets its ID."""
    tenant = new_tenant(world)["id"]
    world.new_key(tenant=tenant, name="the first one's")
    for key in platform.get(f"/v1/tenants/{tenant}/keys").json()["items"]:
        assert platform.delete(world.path(key, tenant=tenant)).status == 204
    assert platform.delete(f"/v1/tenants/{tenant}").status == 204
    assert platform.post("/v1/tenants", {"id": tenant, "name": "Another"}).status == 201
    admin = Api(world, world.server.access_token(world.new_key(tenant=tenant, scopes=["cardea.admin"])))
    path = f"/v1/tenants/{tenant}/audit"
    own = ["key.create", "tenant.create"]
    assert [entry["action"] for entry in admin.get(path).json()["items"]] == own
    assert [entry["action"] for entry in platform.get(path).json()["items"]] == [
        *own, "tenant.delete", "key.delete", *own]
    page = admin.get(path + "?limit=1").json()
    page = admin.get(f"{path}?limit=1&cursor={page['next_cursor']}").json()
    assert page["items"][0]["action"] == "tenant.create" and page["next_cursor"] is None


def test_large_entries_are_paged_by_bytes(world, platform):
    """A page is bounded in bytes too; the cursor leads on."""
    tenant = new_tenant(world)["id"]
    world.site.sql("INSERT INTO audit (tenant_id, actor, action, object, changes) SELECT %s, 'test', 'key.update', n,"
                   " jsonb_build_object('claims', jsonb_build_array(repeat('<', 60000), n)) FROM generate_series(1, 190) AS n",
                   tenant)
    pages, cursor = [], ""
    while cursor is not None:
        answer = platform.get(f"/v1/tenants/{tenant}/audit?limit=200" + (f"&cursor={cursor}" if cursor else ""))
        pages.append(answer)
        cursor = answer.json()["next_cursor"]
    assert len(pages) > 5 and max(len(page.body) for page in pages) < 2 << 20
    entries = [entry for page in pages for entry in page.json()["items"]]
    assert [entry["object"] for entry in entries] == [str(n) for n in range(190, 0, -1)] + [tenant]
