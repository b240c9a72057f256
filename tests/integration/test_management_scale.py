# SPDX-License-Identifier: Apache-2.0
"""10,000 keys in a tenant: each page of the list costs an index scan in the order of the list, whatever the page and the
filter. Judged by PostgreSQL's own plans of the very statements that the server sends."""
import json
import re

import pytest
from conftest import connection, new_site
from management import World, later

KEYS = 10000


@pytest.fixture(scope="module")
def world(server):
    with new_site(server, WORKERS="1") as site:
        world = World(site)
        for tenant in "acme", "other":
            site.sql("INSERT INTO api_key (key_id, tenant_id, name, scopes, expires_at, enabled, secret_mac, secret_seal, created_by)"
                     " SELECT 'key_' || translate(substr(md5(%s || n), 1, 24), '0189', 'wxyz'), %s, 'Key ' || n, '{data:read}',"
                     " now() + (n %% 10 - 1) * interval '1 day', n %% 7 > 0, sha256(n::text::bytea), decode(repeat('00', 8), 'hex'),"
                     " 'test' FROM generate_series(1, %s) AS n", tenant, tenant, KEYS)
        site.sql("INSERT INTO audit (tenant_id, actor, action, object) SELECT CASE n %% 2 WHEN 0 THEN 'acme' ELSE 'other' END,"
                 " 'test', 'key.update', 'key_' FROM generate_series(1, %s) AS n", KEYS)
        site.sql("ANALYZE")
        yield world


def statement(world, path, mark):
    """The text of the statement with this mark that a request makes the server send."""
    assert world.platform.get(path).status == 200
    texts = world.site.sql("SELECT query FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                           " AND query LIKE %s", f"%{mark}%")
    assert texts, mark
    return texts[0][0]


def plan(world, text, types, values, generic):
    """EXPLAIN of the statement, prepared as the server does."""
    with connection(world.site.database) as conn, conn.cursor() as cursor:
        cursor.execute(f"SET plan_cache_mode = force_{'generic' if generic else 'custom'}_plan")
        cursor.execute(f"PREPARE stmt ({types}) AS {text}")
        cursor.execute("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE stmt (" + ", ".join(["%s"] * len(values)) + ")", values)
        return cursor.fetchone()[0][0]["Plan"]


def nodes(node):
    yield node
    for inner in node.get("Plans", []):
        yield from nodes(inner)


def check_plan(world, root, table, *indexes):
    """The table is read by these indexes, in their order; nothing but the page itself is ever sorted."""
    scans = [node for node in nodes(root) if node.get("Relation Name") == table]
    assert scans and all(node["Node Type"] == "Index Scan" and node["Index Name"] in indexes for node in scans), json.dumps(root)
    for node in nodes(root):
        assert not (node["Node Type"].endswith("Sort") and node["Actual Rows"] > 201), json.dumps(root)
    return sum(node["Actual Rows"] + node.get("Rows Removed by Filter", 0) for node in scans)


# status, text, place of the page; how many rows a page of 50 may read
CASES = [
    (0, "", 1.0, 201), (0, "", 0.5, 201), (0, "", 0.01, 201), (1, "", 1.0, 500), (2, "", 0.5, 2000), (3, "", 0.3, 4500),
    (0, "key 77", 1.0, KEYS + 10), (0, "no such key", 1.0, KEYS + 10), (1, "key 1", 0.9, KEYS + 10),
]


@pytest.mark.parametrize("generic", [True, False])
@pytest.mark.parametrize("status,text,place,rows", CASES)
def test_list_of_keys(world, status, text, place, rows, generic):
    query = statement(world, "/v1/tenants/acme/keys", "FROM tenant t LEFT JOIN LATERAL")
    newest = world.site.sql("SELECT max(seq), min(seq) FROM api_key WHERE tenant_id = 'acme'")[0]
    before = newest[1] + int((newest[0] - newest[1]) * place) + 1
    root = plan(world, query, "text, bigint, int, timestamptz, text, int", ["acme", before, status, later(), text, 50], generic)
    assert check_plan(world, root, "api_key", "api_key_list") <= rows


def test_all_pages(world):
    seen, cursor = [], ""
    while cursor is not None:
        page = world.platform.get("/v1/tenants/acme/keys?limit=200" + (f"&cursor={cursor}" if cursor else "")).json()
        seen += [key["key_id"] for key in page["items"]]
        cursor = page["next_cursor"]
    assert len(seen) == len(set(seen)) == world.site.sql("SELECT count(*) FROM api_key WHERE tenant_id = 'acme'")[0][0]


@pytest.mark.parametrize("generic", [True, False])
def test_audit(world, generic):
    of_tenant = statement(world, "/v1/tenants/acme/audit", "FROM audit WHERE tenant_id")
    for with_former in False, True:
        root = plan(world, of_tenant, "bigint, int, text, boolean", [2**60, 50, "acme", with_former], generic)
        assert check_plan(world, root, "audit", "audit_tenant", "audit_tenant_create") <= 202
    whole = statement(world, "/v1/audit", "FROM audit WHERE id <")
    root = plan(world, whole, "bigint, int", [2**60, 50], generic)
    assert check_plan(world, root, "audit", "audit_pkey") <= 201


@pytest.mark.parametrize("generic", [True, False])
def test_one_key(world, generic):
    key = world.site.sql("SELECT key_id FROM api_key WHERE tenant_id = 'acme' AND name = 'Key 5000'")[0][0]
    query = statement(world, f"/v1/tenants/acme/keys/{key}", "WHERE k.key_id = $1 AND k.tenant_id = $2")
    root = plan(world, query, "text, text", [key, "acme"], generic)
    assert check_plan(world, root, "api_key", "api_key_pkey") == 1
    assert re.match("SELECT", query)
