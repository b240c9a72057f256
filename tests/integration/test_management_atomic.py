# SPDX-License-Identifier: Apache-2.0
"""All or nothing: changes at the same time, repeated requests, the audit in the transaction of its change, and a server
that is killed in the middle."""
import base64
import collections
import http.client
import json
import os
import random
import threading
import time

import psycopg2
import pytest
from conftest import new_site, run_threads, wait_until
from management import Api, World, etag, numbers

GOOD = {"name": "n", "scopes": ["data:read"], "expires_at": "2099-01-01T00:00:00Z"}
KILLS = int(os.environ.get("CARDEA_TEST_KILLS", "200"))


@pytest.fixture(scope="module")
def world(server):
    with new_site(server) as site:
        yield World(site)


@pytest.fixture(scope="module")
def admin(world):
    return world.admin


def all_at_once(count, work):
    """Results of work(n), all begun at the same moment."""
    barrier, results = threading.Barrier(count), [None] * count

    def one(n):
        barrier.wait()
        results[n] = work(n)

    run_threads(count, one)
    return results


# --- at the same time ---------------------------------------------------------------------------


def test_patches_with_one_etag(world, admin):
    """Exactly one wins, the others are told; twenty rounds."""
    key = world.new_key()
    for _ in range(20):
        tag = etag(admin.get(world.path(key)))
        answers = all_at_once(4, lambda n: admin.patch(world.path(key), {"name": f"name {n}"}, If_Match=tag))
        assert sorted(answer.status for answer in answers) == [200, 412, 412, 412]
        winner = next(answer for answer in answers if answer.status == 200)
        now = admin.get(world.path(key))
        assert now.json() == winner.json() and etag(now) == etag(winner)


def test_patches_of_different_fields(world, admin):
    """Without If-Match nobody's change is lost: each starts over from what the other wrote."""
    key = world.new_key()
    fields = [{"name": "new"}, {"description": "new"}, {"token_ttl": 77}, {"audience": ["new"]}, {"claims": {"a": 1}},
              {"claims": {"b": 2}}, {"claims": {"c": 3}}, {"allowed_cidrs": ["127.0.0.0/8"]}]
    answers = all_at_once(len(fields), lambda n: admin.patch(world.path(key), fields[n]))
    assert [answer.status for answer in answers] == [200] * len(fields)
    now = admin.get(world.path(key)).json()
    for field in fields[:4] + fields[7:]:
        assert field.items() <= now.items()
    assert now["claims"] == {"a": 1, "b": 2, "c": 3}
    assert len({etag(answer) for answer in answers}) == len(fields)


def test_rotations_at_once(world, admin):
    key = world.new_key()
    answers = all_at_once(10, lambda n: admin.post(world.path(key, "/secret")))
    assert [answer.status for answer in answers] == [200] * 10
    assert sum(world.works(answer.json()) for answer in answers) == 1
    assert not world.works(key)


def test_delete_and_patch(world, admin):
    for _ in range(10):
        key = world.new_key()
        deleted, patched = all_at_once(2, lambda n: admin.patch(world.path(key), {"name": "x"}) if n
                                       else admin.delete(world.path(key)))
        assert deleted.status == 204 and patched.status in (200, 404)
        assert admin.get(world.path(key)).status == 404


def test_tenant_is_deleted_while_keys_are_made(world):
    for _ in range(10):
        tenant = f"t{next(numbers)}"
        world.platform.made("/v1/tenants", {"id": tenant, "name": "T"})
        made, deleted = all_at_once(2, lambda n: world.platform.delete(f"/v1/tenants/{tenant}") if n
                                    else world.platform.post(world.path(tenant=tenant), GOOD))
        assert (made.status, deleted.status) in ((201, 409), (404, 204)), (made, deleted)


def test_scope_is_deleted_while_it_is_granted(world, admin):
    for _ in range(10):
        scope = f"s{next(numbers)}"
        world.platform.put(f"/v1/scopes/{scope}", {"title": "S"})
        made, deleted = all_at_once(2, lambda n: world.platform.delete(f"/v1/scopes/{scope}") if n
                                    else admin.post(world.path(), dict(GOOD, scopes=[scope])))
        assert (made.status, deleted.status) in ((201, 409), (422, 204)), (made, deleted)


def test_pages_while_keys_come_and_go(world):
    """Each key that was there all the time is listed exactly once."""
    world.platform.made("/v1/tenants", {"id": "busy", "name": "B"})
    path = world.path(tenant="busy")
    mixed = [world.new_key(tenant="busy")["key_id"] for _ in range(60)]
    doomed, stay = set(mixed[::3]), [key_id for n, key_id in enumerate(mixed) if n % 3][::-1]
    over = threading.Event()

    def come():
        while not over.is_set():
            world.new_key(tenant="busy")

    def go():
        for key_id in doomed:
            world.platform.delete(world.path(key_id, tenant="busy"))

    threads = [threading.Thread(target=come), threading.Thread(target=go)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(15):
            seen, cursor = [], ""
            while cursor is not None:
                page = world.platform.get(path + "?limit=7" + (f"&cursor={cursor}" if cursor else "")).json()
                seen += [key["key_id"] for key in page["items"]]
                cursor = page["next_cursor"]
            assert max(collections.Counter(seen).values()) == 1
            assert [key_id for key_id in seen if key_id in set(stay)] == stay
    finally:
        over.set()
        for thread in threads:
            thread.join()


# --- Idempotency-Key ----------------------------------------------------------------------------


def test_creates_with_one_idempotency_key(world, admin):
    """Fifty at once: one key. Each answer has a secret of its own, and the last one given works."""
    name = f"fifty {next(numbers)}"
    answers = all_at_once(50, lambda n: admin.post(world.path(), dict(GOOD, name=name), Idempotency_Key=name))
    assert [answer.status for answer in answers] == [201] * 50
    assert len({answer.json()["key_id"] for answer in answers}) == 1
    assert len({answer.json()["secret"] for answer in answers}) == 50
    working = [answer for answer in answers if world.works(answer.json())]
    newest = max(answers, key=lambda answer: int(etag(answer).strip('"')))
    assert working == [newest]
    assert world.site.sql("SELECT count(*) FROM api_key WHERE name = %s", name) == [(1,)]
    key_id = newest.json()["key_id"]
    assert len(world.audit(object=key_id, action="key.create")) == 1
    assert len(world.audit(object=key_id, action="key.rotate")) == 49


def test_repeated_create(world, admin):
    name = f"again {next(numbers)}"
    first = admin.post(world.path(), GOOD, Idempotency_Key=name)
    second = admin.post(world.path(), GOOD, Idempotency_Key=name)
    assert (first.status, second.status) == (201, 201)
    assert first.header("Location") == second.header("Location")
    assert first.json()["key_id"] == second.json()["key_id"] and first.json()["secret"] != second.json()["secret"]
    assert (world.works(first.json()), world.works(second.json())) == (False, True)
    # Another body, another path, another route: another request.
    assert admin.post(world.path(), dict(GOOD, name="m"), Idempotency_Key=name).status == 409
    assert admin.post(world.path(first.json(), "/secret"), GOOD, Idempotency_Key=name).status in (400, 409)
    assert admin.post(world.path(first.json(), "/secret"), {}, Idempotency_Key=name).status == 409
    assert world.works(second.json())
    # Another admin's keys are other keys.
    assert world.platform.post(world.path(), GOOD, Idempotency_Key=name).json()["key_id"] != first.json()["key_id"]
    # A refused request has used nothing up.
    assert admin.post(world.path(), dict(GOOD, name=""), Idempotency_Key=name + "2").status == 422
    assert admin.post(world.path(), GOOD, Idempotency_Key=name + "2").status == 201
    admin.delete(world.path(first.json()))
    assert admin.post(world.path(), GOOD, Idempotency_Key=name).status == 409


def test_repeated_create_is_over_after_a_day(world, admin):
    name = f"day {next(numbers)}"
    first = admin.made(world.path(), GOOD, Idempotency_Key=name)
    world.site.sql("UPDATE idempotency SET created_at = now() - interval '24 hours 1 second' WHERE key = %s", name)
    assert admin.made(world.path(), GOOD, Idempotency_Key=name)["key_id"] != first["key_id"]
    assert world.works(first)


def test_repeated_create_gives_no_rights(world, admin):
    """The key has become a platform key since: its secret is not the tenant admin's to have any more."""
    name = f"promoted {next(numbers)}"
    key = admin.made(world.path(), dict(GOOD, scopes=["cardea.admin"]), Idempotency_Key=name)
    assert world.platform.patch(world.path(key), {"scopes": ["cardea.platform"]}).status == 200
    assert admin.post(world.path(), dict(GOOD, scopes=["cardea.admin"]), Idempotency_Key=name).status == 403
    assert world.works(key)


def test_repeated_rotation(world, admin):
    key, name = world.new_key(), f"rotate {next(numbers)}"
    first = admin.post(world.path(key, "/secret"), {"overlap": "1h"}, Idempotency_Key=name).json()
    again = admin.post(world.path(key, "/secret"), {"overlap": "1h"}, Idempotency_Key=name).json()
    # The lost secret is replaced; the one in use keeps its overlap.
    assert [world.works(key), world.works(first), world.works(again)] == [True, False, True]
    assert again["previous_secret_expires_at"] == first["previous_secret_expires_at"]
    assert admin.post(world.path(key, "/secret"), {"overlap": "2h"}, Idempotency_Key=name).status == 409
    answers = all_at_once(10, lambda n: admin.post(world.path(key, "/secret"), {"overlap": "1h"}, Idempotency_Key=name))
    assert [answer.status for answer in answers] == [200] * 10
    assert world.works(key)


def test_repeated_rotation_with_if_match(world, admin):
    """The repetition has the ETag of before, as the first had."""
    key, name = world.new_key(), f"match {next(numbers)}"
    tag = etag(admin.get(world.path(key)))
    for _ in range(3):
        answer = admin.post(world.path(key, "/secret"), {}, Idempotency_Key=name, If_Match=tag)
        assert answer.status == 200 and world.works(answer.json())
    assert admin.post(world.path(key, "/secret"), {}, Idempotency_Key=name + "x", If_Match=tag).status == 412
    assert world.works(answer.json())


def test_repeated_tenant(world):
    tenant = {"id": f"t{next(numbers)}", "name": "T"}
    answers = all_at_once(8, lambda n: world.platform.post("/v1/tenants", tenant, Idempotency_Key=tenant["id"]))
    assert [answer.status for answer in answers] == [201] * 8
    assert len({answer.body for answer in answers}) == 1
    assert world.platform.post("/v1/tenants", tenant).status == 409
    assert world.platform.post("/v1/tenants", dict(tenant, name="U"), Idempotency_Key=tenant["id"]).status == 409
    world.platform.delete("/v1/tenants/" + tenant["id"])
    assert world.platform.post("/v1/tenants", tenant, Idempotency_Key=tenant["id"]).status == 409


def test_repeated_rotation_of_signing_keys(server):
    with new_site(server) as site:
        world = World(site)
        first = world.platform.post("/v1/signing-keys", {}, Idempotency_Key="r")
        assert first.status == 201 and first.json()["state"] == "announced"
        assert world.platform.post("/v1/signing-keys", {}, Idempotency_Key="r").json()["kid"] == first.json()["kid"]
        assert world.platform.post("/v1/signing-keys").status == 200  # under way already
        assert world.platform.post("/v1/signing-keys", {"emergency": True}, Idempotency_Key="r").status == 409
        body = {"emergency": True}
        fresh = world.platform.post("/v1/signing-keys", body, Idempotency_Key="e").json()
        platform = Api(world, wait_until(lambda: token_signed_by(world, fresh["kid"]), "the new key signs"))
        again = platform.post("/v1/signing-keys", body, Idempotency_Key="e")
        assert (again.status, again.json()["kid"]) == (201, fresh["kid"])
        assert [key["kid"] for key in platform.get("/v1/signing-keys").json()["items"]] == [fresh["kid"]]


def token_signed_by(world, kid):
    """A token of the platform's that this key has signed and every worker accepts; None until then."""
    token = world.server.token(world.keys["platform"])
    if token.status != 200:
        return None
    token = token.json()["access_token"]
    head = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))
    if head["kid"] != kid:
        return None
    return token if all(Api(world, token).get("/v1/signing-keys").status == 200 for _ in range(20)) else None


@pytest.mark.parametrize("value", ["", "x" * 256, "\xff".encode("latin-1")])
def test_bad_idempotency_keys(world, admin, value):
    assert admin.post(world.path(), GOOD, Idempotency_Key=value).status == 400


# --- audit --------------------------------------------------------------------------------------


def test_audit_entries(world, admin):
    key = admin.made(world.path(), dict(GOOD, name="old", description=None, claims={"a": 1}), X_Request_Id="req-create")
    admin.patch(world.path(key), {"name": "new", "scopes": ["data:read"], "claims": {"b": 2}}, X_Request_Id="req-patch")
    admin.post(world.path(key, "/secret"), {"overlap": "1h"}, X_Request_Id="req-rotate")
    admin.delete(world.path(key), X_Request_Id="req-delete")
    gone, rotated, changed, made = world.audit(object=key["key_id"])
    for entry, action in (made, "create"), (changed, "update"), (rotated, "rotate"), (gone, "delete"):
        assert entry["action"] == "key." + action
        assert entry["actor"] == world.keys["admin"]["key_id"]
        assert (entry["tenant"], entry["address"]) == ("acme", "127.0.0.1")
    assert [entry["request_id"] for entry in (made, changed, rotated, gone)] == ["req-create", "req-patch", "req-rotate",
                                                                                 "req-delete"]
    assert made["changes"] == {"name": [None, "old"], "scopes": [None, ["data:read"]], "enabled": [None, True],
                               "expires_at": [None, GOOD["expires_at"]], "claims": [None, {"a": 1}]}
    assert changed["changes"] == {"name": ["old", "new"], "claims": [{"a": 1}, {"a": 1, "b": 2}]}
    assert gone["changes"]["name"] == ["new", None]
    ids = [entry["id"] for entry in world.audit()]
    assert ids == sorted(ids, reverse=True)


def test_audit_of_the_platform(world):
    tenant, scope = f"t{next(numbers)}", f"s{next(numbers)}"
    world.platform.made("/v1/tenants", {"id": tenant, "name": "T"})
    world.platform.patch(f"/v1/tenants/{tenant}", {"enabled": False})
    world.platform.delete(f"/v1/tenants/{tenant}")
    for title in "one", "two":
        world.platform.put(f"/v1/scopes/{scope}", {"title": title})
    world.platform.delete(f"/v1/scopes/{scope}")
    entries = world.platform.get("/v1/audit?limit=200").json()["items"]
    assert [(entry["action"], entry["changes"]) for entry in entries if entry["object"] in (tenant, scope)][::-1] == [
        ("tenant.create", {"name": [None, "T"], "enabled": [None, True]}),
        ("tenant.update", {"enabled": [True, False]}),
        ("tenant.delete", {"name": ["T", None], "enabled": [False, None]}),
        ("scope.create", {"title": [None, "one"], "description": [None, ""]}),
        ("scope.update", {"title": ["one", "two"]}),
        ("scope.delete", {"title": ["two", None], "description": ["", None]})]
    # The log of a tenant outlives it.
    assert len(world.audit(tenant)) == 3


def test_command_line_is_in_the_audit(world):
    key = world.site.key(name="by cli")
    entry, = world.audit(object=key["key_id"])
    assert entry["actor"].startswith("cli:") and entry["address"] is None


CHANGES = {
    "create": lambda world, key: world.admin.post(world.path(), GOOD),
    "patch": lambda world, key: world.admin.patch(world.path(key), {"name": "changed"}),
    "disable": lambda world, key: world.admin.patch(world.path(key), {"enabled": False}),
    "rotate": lambda world, key: world.admin.post(world.path(key, "/secret"), {"overlap": "1h"}),
    "delete": lambda world, key: world.admin.delete(world.path(key)),
    "tenant create": lambda world, key: world.platform.post("/v1/tenants", {"id": "never", "name": "N"}),
    "tenant patch": lambda world, key: world.platform.patch("/v1/tenants/other", {"name": "changed"}),
    "tenant delete": lambda world, key: world.platform.delete("/v1/tenants/spare"),
    "scope put": lambda world, key: world.platform.put("/v1/scopes/data:read", {"title": "changed"}),
    "scope create": lambda world, key: world.platform.put("/v1/scopes/never", {"title": "N"}),
    "scope delete": lambda world, key: world.platform.delete("/v1/scopes/spare"),
    "rotation": lambda world, key: world.platform.post("/v1/signing-keys"),
    "emergency": lambda world, key: world.platform.post("/v1/signing-keys", {"emergency": True}),
}


def contents(world):
    """Of every table that a change writes; times of use are no change."""
    row = "(to_jsonb(t) - 'last_used_at')::text"
    return [world.site.sql(f"SELECT md5(string_agg({row}, '|' ORDER BY {row})) FROM {table} AS t")
            for table in ("api_key", "api_key_scope", "tenant", "scope", "signing_key", "audit", "idempotency")]


def test_no_change_without_its_audit(server):
    """When the entry cannot be written, nothing is."""
    with new_site(server) as site:
        world = World(site)
        world.platform.made("/v1/tenants", {"id": "spare", "name": "S"})
        world.platform.put("/v1/scopes/spare", {"title": "S"})
        key = world.new_key()
        site.sql("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                 " RAISE EXCEPTION 'disk full' USING ERRCODE = '53100'; END $$;"
                 " CREATE TRIGGER no BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION no()")
        before = contents(world)
        for name, change in CHANGES.items():
            answer = change(world, key)
            assert answer.status in (500, 503), (name, answer)
            assert b"disk" not in answer.body
            assert contents(world) == before, name
        assert world.works(key)
        site.sql("DROP TRIGGER no ON audit")
        for name, change in CHANGES.items():
            if name == "emergency":
                continue  # would end the token in hand
            count = world.count("audit")
            answer = change(world, key)
            assert answer.status < 300, (name, answer)
            assert world.count("audit") == count + 1, name


def test_audit_is_final(world):
    """Not even the owner of the table changes an entry."""
    for statement in ("UPDATE audit SET actor = 'x'", "DELETE FROM audit", "TRUNCATE audit",
                      "UPDATE audit SET actor = 'x' WHERE false"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            world.site.sql(statement)


# --- killed -------------------------------------------------------------------------------------


class Client(threading.Thread):
    """Makes keys and rotates each once, until the server is gone. What it was shown is kept."""

    def __init__(self, world, token):
        super().__init__()
        self.world, self.token, self.shown = world, token, []

    def run(self):
        api = Api(self.world, self.token)
        try:
            while True:
                key = api.made(self.world.path(), dict(GOOD, name=f"killed {next(numbers)}"))
                self.shown.append(key)
                answer = api.post(self.world.path(key, "/secret"), {"overlap": "30d"})
                assert answer.status == 200, answer
                self.shown.append(answer.json())
        except (OSError, ValueError, http.client.HTTPException):
            pass  # gone, before or within an answer: it has shown nothing


def test_kill_9(server):
    """Killed at random points of create and rotate: no secret was shown that is not stored, and no half row is left."""
    with new_site(server, WORKERS="1") as site:
        world = World(site)
        shown = []
        for n in range(KILLS):
            clients = [Client(world, world.admin.token) for _ in range(3)]
            for client in clients:
                client.start()
            if n % 2:  # every other time something has been shown already, however slow the machine
                wait_until(lambda: any(client.shown for client in clients), "a secret")
            time.sleep(random.uniform(0.005, 0.1))
            world.server.kill()
            for client in clients:
                client.join()
                shown += client.shown[-2:]  # those just before the end
            site.instances.clear()  # the next one listens on the issuer's port again
            world.server = site.start()
            if n % 50 == 49 or n == KILLS - 1:
                check_shown(world, shown)
                shown.clear()
        check_rows(world)


def check_shown(world, shown):
    """A secret that was rotated since has its overlap, so each of them opens."""
    assert len(shown) > 10
    for key in shown:
        assert world.works(key), key


def check_rows(world):
    sql = world.site.sql
    assert sql("SELECT count(*) FROM api_key k WHERE (SELECT array_agg(scope ORDER BY scope) FROM api_key_scope s"
               " WHERE s.key_id = k.key_id) IS DISTINCT FROM k.scopes::text[] AND k.seq > 0") == [(0,)]
    assert sql("SELECT count(*) FROM api_key k WHERE k.seq > 0 AND (SELECT count(*) FROM audit a WHERE a.object = k.key_id"
               " AND a.action = 'key.create') <> 1") == [(0,)]
    assert sql("SELECT count(*) FROM audit a WHERE action = 'key.create' AND NOT EXISTS (SELECT FROM api_key k"
               " WHERE k.key_id = a.object)") == [(0,)]
    assert sql("SELECT count(*) FROM api_key k WHERE k.seq > 0 AND k.version - 1 <> (SELECT count(*) FROM audit a"
               " WHERE a.object = k.key_id AND a.action IN ('key.rotate', 'key.update'))") == [(0,)]
