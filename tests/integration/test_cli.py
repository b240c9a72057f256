# SPDX-License-Identifier: Apache-2.0
"""Every verb: the table for people, --json for programs, and the exit status (0 done, 1 failed, 2 wrong usage)."""
import json
import os
import re
import socket
import subprocess
import time
import zlib
from datetime import datetime, timedelta, timezone

import psycopg2.extensions
import pytest
from conftest import base_environment, binary, new_site, run_threads, wait_until
from jwcrypto import jwk

KEY_MEMBERS = {
    "key_id", "tenant", "name", "description", "scopes", "enabled", "status", "expires_at", "created_at", "created_by",
    "updated_at", "last_used_at", "token_ttl", "audience", "allowed_cidrs", "claims", "auth_method",
    "previous_secret_expires_at"}


@pytest.fixture(scope="module")
def site(server):
    with new_site(server) as fresh:
        fresh.acme_key = fresh.demo()
        fresh.start()
        yield fresh


@pytest.fixture
def instance(site):
    return site.instances[0]


def table(text):
    """The rows of a table, split at two spaces or more."""
    return [re.split(r" {2,}", line.strip()) for line in text.splitlines()]


def fails(site, *args, status=1):
    done = site.cli(*args, check=False)
    assert done.status == status, done
    assert done.out == ""
    assert done.err.startswith("cardea: ") and done.err.endswith("\n")
    return done.err


# --- usage --------------------------------------------------------------------------------------

WRONG = [
    [], ["frobnicate"], ["key"], ["key", "frobnicate"], ["tenant", "create"], ["tenant", "create", "x"],
    ["tenant", "create", "--name", "x"], ["tenant", "create", "x", "y", "--name", "x"], ["tenant", "list", "x"],
    ["tenant", "list", "--frob"], ["tenant", "list", "--json=yes"], ["tenant", "list", "--json", "--json"],
    ["tenant", "create", "x", "--name"], ["tenant", "create", "x", "--name", "a", "--name", "b"],
    ["key", "create", "--tenant", "acme", "--name", "x", "--scope", "data:read"],
    ["key", "create", "--tenant", "acme", "--name", "x", "--expires", "1d"],
    ["key", "create", "--tenant", "acme", "--scope", "data:read", "--expires", "1d"],
    ["key", "create", "--name", "x", "--scope", "data:read", "--expires", "1d"],
    ["key", "create", "--tenant", "acme", "--name", "x", "--scope", "data:read", "--expires", "1d", "--token-ttl", "x"],
    ["key", "list"], ["key", "show"], ["key", "show", "a", "b"], ["key", "disable"], ["key", "rotate"],
    ["scope", "create", "a:b"], ["scope", "delete"], ["signing-key", "list", "x"], ["serve", "x"], ["migrate", "x"],
    ["version", "x"], ["help", "frobnicate"], ["tenant", "list", "--workers"], ["--frob"], [""], ["-x"],
    ["tenant", "list", "--config"],
]


@pytest.mark.parametrize("args", WRONG, ids=lambda args: " ".join(args) or "nothing")
def test_wrong_usage(site, args):
    """One line that helps."""
    error = fails(site, *args, status=2)
    assert len(error.splitlines()) == 1 and "cardea help" in error


def test_help(site):
    out = site.cli("help").out
    for verb in ("serve", "migrate", "tenant create", "key rotate", "scope list", "signing-key rotate", "config",
                 "version"):
        assert f"cardea {verb}" in out
    out = site.cli("help", "key").out
    assert "cardea key create" in out and "tenant" not in out.split("cardea key")[0]
    out = site.cli("help", "key", "create").out
    assert "--expires" in out and "--token-ttl" in out and "--database-url" in out


@pytest.mark.parametrize("args", [["--help"], ["-h"], ["key", "--help"], ["serve", "--help"], ["key", "create", "-h"],
                                  ["key", "create", "--tenant", "acme", "--help"], ["key", "show", "x", "--help"]],
                         ids=" ".join)
def test_help_where_hands_look_for_it(site, args):
    words = [arg for arg in args[:2] if not arg.startswith("-")]
    assert site.cli(*args).out == site.cli("help", *words).out


def test_help_is_a_value_too(site):
    assert site.cli_json("tenant", "create", "helpful", "--name", "--help")["name"] == "--help"


def test_help_names_every_setting(site):
    out = site.cli("help", "serve").out
    for row in site.cli_json("config")["settings"]:
        assert "--" + row["name"][len("CARDEA_"):].lower().replace("_", "-") in out


def test_version(site):
    version = site.cli_json("version")["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert site.cli("version").out == f"cardea {version}\n" == site.cli("--version").out


# --- tenants ------------------------------------------------------------------------------------


def test_tenants(site):
    created = site.cli_json("tenant", "create", "globex", "--name", "Globex Corp \u00e9")
    assert (created["id"], created["name"], created["enabled"]) == ("globex", "Globex Corp \u00e9", True)
    listed = site.cli_json("tenant", "list")
    assert {"acme", "globex"} <= {t["id"] for t in listed["items"]} and "-" not in {t["id"] for t in listed["items"]}
    rows = table(site.cli("tenant", "list").out)
    assert rows[0][:3] == ["ID", "NAME", "ENABLED"] and ["globex", "Globex Corp \u00e9", "yes"] in [r[:3] for r in rows]
    assert site.cli_json("tenant", "disable", "globex")["enabled"] is False
    assert ["globex", "no"] in [[r[0], r[2]] for r in table(site.cli("tenant", "list").out)]
    assert site.cli_json("tenant", "enable", "globex")["enabled"] is True
    assert site.cli("tenant", "delete", "globex").out == ""
    assert "globex" not in {t["id"] for t in site.cli_json("tenant", "list")["items"]}


@pytest.mark.parametrize("name", ["Acme", "-acme", "a_b", "a b", "\u00e9", "a" * 64, "a/b", "a?b", "..", "-"])
def test_bad_tenant_ids(site, name):
    assert fails(site, "tenant", "create", name, "--name", "x")


@pytest.mark.parametrize("name", ["", "a\nb", "a\tb", "a\x7fb", "a" * 300])
def test_bad_tenant_names(site, name):
    assert "name" in fails(site, "tenant", "create", "good", "--name", name)


def test_tenant_conflicts(site):
    fails(site, "tenant", "create", "acme", "--name", "again")
    fails(site, "tenant", "delete", "acme")
    for verb in ("disable", "enable", "delete"):
        fails(site, "tenant", verb, "nowhere")
    for verb in ("disable", "enable", "delete"):
        fails(site, "tenant", verb, "-")


# --- scopes -------------------------------------------------------------------------------------


def test_scopes(site):
    created = site.cli_json("scope", "create", "b:c", "--title", "B", "--description", "What it does")
    assert created == {"name": "b:c", "title": "B", "description": "What it does"}
    assert site.cli_json("scope", "create", "b:c", "--title", "C")["title"] == "C"
    assert "b:c" in {s["name"] for s in site.cli_json("scope", "list")["items"]}
    rows = table(site.cli("scope", "list").out)
    assert rows[0][:2] == ["NAME", "TITLE"] and ["b:c", "C"] in [r[:2] for r in rows]
    site.cli("scope", "delete", "b:c")
    assert "b:c" not in {s["name"] for s in site.cli_json("scope", "list")["items"]}
    fails(site, "scope", "delete", "b:c")


def test_scope_with_odd_characters(site):
    for name in ("urn:x:%2F", "a?b=c&d", "a#b", "!$'()*+,;=~", "...", ".a"):
        assert site.cli_json("scope", "create", name, "--title", "odd")["name"] == name
        assert name in {s["name"] for s in site.cli_json("scope", "list")["items"]}
        site.cli("scope", "delete", name)


def test_names_are_one_segment(site):
    """What looks like a path or a query reaches nothing else."""
    site.tenant("segment")
    key = site.key("segment")
    for name in ("segment/keys/" + key["key_id"], "segment?x", "segment/", "/segment", ""):
        fails(site, "tenant", "delete", name)
        fails(site, "tenant", "disable", name)
        fails(site, "key", "list", "--tenant", name)
    assert "slash" in fails(site, "scope", "create", "https://api.example/read", "--title", "x")
    for name in (".", ".."):
        for verb in (["scope", "create", name, "--title", "x"], ["scope", "delete", name], ["tenant", "disable", name],
                     ["key", "list", "--tenant", name]):
            assert f'"{name}" cannot be a name: a URL never keeps it' in fails(site, *verb)
    assert site.instances[0].token(key).status == 200


@pytest.mark.parametrize("name", ["cardea.admin", "cardea.more", "a b", 'a"b', "a\\b", "\u00e9", "a" * 129, ""])
def test_bad_scopes(site, name):
    assert fails(site, "scope", "create", name, "--title", "x")


def test_scope_in_use(site):
    assert "scope" in fails(site, "scope", "delete", "data:read")


# --- keys ---------------------------------------------------------------------------------------


def test_key_create(site, instance):
    before = datetime.now(timezone.utc)
    key = site.key(name="Billing \u2713", expires="90d")
    assert set(key) == KEY_MEMBERS | {"secret"}
    assert re.fullmatch(r"key_[a-z2-7]{24}", key["key_id"])
    assert re.fullmatch(r"cardea_[0-9A-Za-z]{49}", key["secret"])
    assert (key["tenant"], key["name"], key["scopes"]) == ("acme", "Billing \u2713", ["data:read", "data:write"])
    assert (key["enabled"], key["status"], key["auth_method"]) == (True, "active", "client_secret")
    assert key["created_by"].startswith("cli:")
    expires = datetime.fromisoformat(key["expires_at"].replace("Z", "+00:00"))
    assert timedelta(days=89, hours=23) < expires - before < timedelta(days=90, minutes=5)
    assert instance.token(key).status == 200


def test_key_create_for_people(site, instance):
    out = site.cli("key", "create", "--tenant", "acme", "--name", "x", "--scope", "data:read", "--expires",
                   "2999-01-01T00:00:00Z").out
    secret = re.search(r"^secret +(cardea_\w+)$", out, re.M)[1]
    key_id = re.search(r"^key ID +(key_\w+)$", out, re.M)[1]
    assert "cannot be retrieved again" in out and "2999-01-01T00:00:00Z" in out
    assert instance.token(dict(key_id=key_id, secret=secret)).status == 200
    assert secret not in site.cli("key", "show", key_id).out + site.cli("key", "list", "--tenant", "acme").out


def test_secret_has_its_checksum(site):

    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    for _ in range(5):
        secret = site.key()["secret"]
        value = 0
        for char in secret[-6:]:
            value = value * 62 + digits.index(char)
        assert value == zlib.crc32(secret[:-6].encode())


def test_key_options(site, tmp_path):
    key = site.key(options=["--description", "For tests", "--disabled", "--token-ttl", "300", "--audience", "a",
                            "--audience", "https://b.example", "--allowed-cidr", "10.0.0.0/8", "--allowed-cidr",
                            "2001:db8::/32", "--claims", '{"a":1}'])
    assert (key["description"], key["enabled"], key["status"], key["token_ttl"]) == ("For tests", False, "disabled", 300)
    assert key["audience"] == ["a", "https://b.example"] and key["claims"] == {"a": 1}
    assert key["allowed_cidrs"] == ["10.0.0.0/8", "2001:db8::/32"]


def test_key_with_public_keys(site, tmp_path):

    public = jwk.JWK.generate(kty="EC", crv="P-256", use="sig", alg="ES256").export_public(as_dict=True)
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [public]}))
    key = site.key(options=["--jwks", path])
    assert key["auth_method"] == "private_key_jwt" and "secret" not in key


BAD_KEYS = {
    "unknown tenant": dict(tenant="nowhere"),
    "unknown scope": dict(scopes=["no:such"]),
    "both kinds of scopes": dict(scopes=["data:read", "cardea.admin"]),
    "scope with a space": dict(scopes=["data:read data:write"]),
    "empty name": dict(name=""),
    "name with a newline": dict(name="a\nb"),
    "long name": dict(name="a" * 300),
    "expired": dict(expires="2001-01-01T00:00:00Z"),
    "zero": dict(expires="0s"),
    "short tokens": dict(options=["--token-ttl", "9"]),
    "long tokens": dict(options=["--token-ttl", "86401"]),
    "nine audiences": dict(options=[x for n in range(9) for x in ("--audience", f"a{n}")]),
    "audience with a space": dict(options=["--audience", "a b"]),
    "network with host bits": dict(options=["--allowed-cidr", "10.0.0.1/8"]),
    "no network": dict(options=["--allowed-cidr", "x"]),
    "claims are a list": dict(options=["--claims", "[1]"]),
    "claims are no JSON": dict(options=["--claims", "{"]),
    "claims of ours": dict(options=["--claims", '{"sub":"x"}']),
    "claim twice": dict(options=["--claims", '{"a":1,"a":2}']),
    "claims too long": dict(options=["--claims", json.dumps({"a": "x" * 2100})]),
    "no file of public keys": dict(options=["--jwks", "/nonexistent"]),
}


@pytest.mark.parametrize("case", BAD_KEYS)
def test_bad_keys(site, case):
    given = dict(dict(tenant="acme", scopes=["data:read"], name="x", expires="1d", options=[]), **BAD_KEYS[case])
    fails(site, "key", "create", "--tenant", given["tenant"], "--name", given["name"], "--expires", given["expires"],
          *[arg for scope in given["scopes"] for arg in ("--scope", scope)], *given["options"])


@pytest.mark.parametrize("days", [4000, 36500, 2900000])
def test_long_lives(site, days):
    """Longer than any setting may be."""
    before = datetime.now(timezone.utc)
    expires = datetime.fromisoformat(site.key(expires=f"{days}d")["expires_at"].replace("Z", "+00:00"))
    assert timedelta(0) <= expires - before - timedelta(days=days) + timedelta(seconds=1) < timedelta(minutes=5)


@pytest.mark.parametrize("expires", [
    "90", "1w", "1y", "-1d", "+1d", "1.5d", "1h30m", "foo", "tomorrow", "", " 1d", "1d ", "off", "3000000d", "3652425d",
    "99999999999999999999d", "9223372036854775807ms", "2999-02-30T00:00:00Z", "2999-02-20T00:00:00", "10000-01-01T00:00:00Z"])
def test_bad_expiry(site, expires):
    """What it takes, whichever of the two was meant."""
    said = fails(site, "key", "create", "--tenant", "acme", "--name", "x", "--scope", "data:read", "--expires", expires,
                 status=2)
    assert said.startswith("cardea: --expires ") and "90d (units ms s m h d)" in said and "2027-01-01T00:00:00Z" in said


def test_every_wrong_field_is_named(site):
    error = fails(site, "key", "create", "--tenant", "acme", "--name", "", "--scope", "no:such", "--expires", "0s",
                  "--token-ttl", "1")
    for field in ("name", "scopes[0]", "expires_at", "token_ttl"):
        assert f"cardea: {field}: " in error


def test_issuer_is_no_audience(site):
    fails(site, "key", "create", "--tenant", "acme", "--name", "x", "--scope", "data:read", "--expires", "1d",
          "--audience", site.issuer)


def test_audience_needs_the_issuer(site):
    """Without it nobody could tell that it is among them."""
    args = ["key", "create", "--tenant", "acme", "--name", "x", "--scope", "data:read", "--expires", "1d"]
    done = site.cli(*args, "--audience", "urn:a", check=False, ISSUER=None)
    assert done.status == 1 and "cardea: audience: needs CARDEA_ISSUER" in done.err
    site.cli(*args, ISSUER=None)


def test_key_that_would_not_pass_any_more(site):
    """Its audience has become the issuer since. It can be switched off and renamed all the same, and stays what it is."""
    key = site.key(options=["--audience", "urn:a"])
    site.sql("UPDATE api_key SET audience = ARRAY[%s, 'urn:a'] WHERE key_id = %s", site.issuer, key["key_id"])
    assert site.cli_json("key", "disable", key["key_id"])["status"] == "disabled"
    shown = site.cli_json("key", "enable", key["key_id"])
    assert shown["status"] == "active" and shown["audience"] == [site.issuer, "urn:a"]


def test_key_list(server):
    """More than a page; newest first; narrowed by status and text."""
    with new_site(server) as site:
        site.demo()
        ids = [site.key(name=f"name {n:02d}%_x", scopes=["data:read"])["key_id"] for n in range(5)]
        site.sql("""INSERT INTO api_key (key_id, tenant_id, name, scopes, expires_at, secret_mac, secret_seal, created_by)
            SELECT 'key_' || translate(lpad(n::text, 24, '0'), '0189', 'abcd'), 'acme', 'bulk ' || n,
                '{data:read}', now() + interval '1 day', secret_mac, secret_seal, 'x'
            FROM generate_series(1, 450) AS n, api_key WHERE key_id = %s""", ids[0])
        items = site.cli_json("key", "list", "--tenant", "acme")
        assert len(items["items"]) == 456 and items["next_cursor"] is None
        created = [item["created_at"] for item in items["items"]]
        assert created == sorted(created, reverse=True)
        assert all(set(item) == KEY_MEMBERS for item in items["items"])
        site.cli("key", "disable", ids[1])
        site.sql("UPDATE api_key SET expires_at = now() WHERE key_id = %s", ids[2])

        def found(*args):
            return [item["key_id"] for item in site.cli_json("key", "list", "--tenant", "acme", *args)["items"]]

        assert found("--status", "disabled") == [ids[1]] and found("--status", "expired") == [ids[2]]
        assert len(found("--status", "active")) == 454
        assert found("--search", "name 03%") == [ids[3]] and found("--search", ids[4][5:20]) == [ids[4]]
        assert found("--search", "nothing like it") == [] and found("--search", "%") == list(reversed(ids))
        rows = table(site.cli("key", "list", "--tenant", "acme", "--search", "name 03").out)
        assert rows[0] == ["KEY ID", "NAME", "STATUS", "SCOPES", "EXPIRES", "LAST USED"]
        assert rows[1][:4] == [ids[3], "name 03%_x", "active", "data:read"] and rows[1][5] == "-"
        fails(site, "key", "list", "--tenant", "acme", "--status", "odd")
        fails(site, "key", "list", "--tenant", "nowhere")


def test_key_verbs(site, instance):
    key = site.key()
    key_id = key["key_id"]
    shown = site.cli_json("key", "show", key_id)
    assert set(shown) == KEY_MEMBERS and shown["key_id"] == key_id
    assert re.search(rf"^key ID +{key_id}$", site.cli("key", "show", key_id).out, re.M)
    assert site.cli_json("key", "disable", key_id)["status"] == "disabled"
    assert site.cli_json("key", "disable", key_id)["enabled"] is False, "twice does no harm"
    assert site.cli_json("key", "enable", key_id)["status"] == "active"
    rotated = site.cli_json("key", "rotate", key_id, "--overlap", "24h")
    assert rotated["secret"] != key["secret"] and rotated["previous_secret_expires_at"]
    assert site.cli_json("key", "rotate", key_id)["previous_secret_expires_at"] is None
    assert "secret" in site.cli("key", "rotate", key_id).out
    assert site.cli("key", "delete", key_id).out == ""
    for verb in ("show", "disable", "enable", "rotate", "delete"):
        assert key_id in fails(site, "key", verb, key_id)
    assert instance.token(key).status == 401


@pytest.mark.parametrize("overlap, status", [("31d", 1), ("4000d", 1), ("x", 2), ("-1h", 2), ("1", 2), ("1w", 2), ("", 2)])
def test_bad_overlap(site, overlap, status):
    said = fails(site, "key", "rotate", site.acme_key["key_id"], "--overlap", overlap, status=status)
    assert "duration such as" in said and "at most 30d" in said
    assert site.instances[0].token(site.acme_key).status == 200


@pytest.mark.parametrize("key_id", ["-", "key_", "x", "a/b", "key_" + "a" * 24, "key_x?y", "", "a" * 100, "../tenants"])
def test_unknown_keys(site, key_id):
    for verb in ("show", "disable", "enable", "rotate", "delete"):
        fails(site, "key", verb, key_id)


def test_terminal_is_safe(site):
    """What an admin typed is shown, not obeyed."""
    name = "a\u009b31mb"
    done = site.cli("key", "create", "--tenant", "acme", "--name", name, "--scope", "data:read", "--expires", "1d",
                    check=False)
    assert "\u009b" not in done.out


# --- signing keys -------------------------------------------------------------------------------


def test_signing_keys(server):
    with new_site(server) as site:
        site.start()
        (key,) = site.cli_json("signing-key", "list")["items"]
        assert (key["state"], key["alg"]) == ("signing", "ES256")
        announced = site.cli_json("signing-key", "rotate")
        assert announced["state"] == "announced" and announced["kid"] != key["kid"]
        rows = table(site.cli("signing-key", "list").out)
        assert rows[0][:3] == ["KID", "ALG", "STATE"] and {row[0] for row in rows[1:]} == {key["kid"], announced["kid"]}
        assert site.cli_json("signing-key", "rotate")["kid"] == announced["kid"], "one is announced already"
        emergency = site.cli_json("signing-key", "rotate", "--emergency")
        assert emergency["state"] == "signing" and emergency["warning"]
        (only,) = site.cli_json("signing-key", "list")["items"]
        assert only["kid"] == emergency["kid"]
        wait_until(lambda: [k["kid"] for k in site.instances[0].jwks()["keys"]] == [only["kid"]], "it is published")


def test_reseal(server):
    old, new = os.urandom(32), os.urandom(32)
    with new_site(server) as site:
        site.write_master_key(old)
        key = site.demo()
        site.start().stop()
        site.write_master_key(new, old)
        assert site.cli_json("signing-key", "reseal") == {"resealed": 1}
        assert site.cli_json("signing-key", "reseal") == {"resealed": 0}
        states = [row["state"] for row in site.cli_json("config")["master_keys"]]
        assert states == ["seals and opens", "still needed"], "the secret's MAC has not moved yet"
        instance = site.start()
        assert instance.token(key).status == 200
        wait_until(lambda: [row["state"] for row in site.cli_json("config")["master_keys"]]
                   == ["seals and opens", "may be dropped"], "a token moves the MAC")
        instance.stop()
        site.write_master_key(new)
        assert site.start().token(key).status == 200


# --- config, output and failures ----------------------------------------------------------------


def test_config(site):
    rows = site.cli_json("config")["settings"]
    values = {row["name"]: row["value"] for row in rows}
    assert values["CARDEA_DATABASE_URL"] == "(hidden)" and values["CARDEA_ISSUER"] == site.issuer
    out = site.cli("config").out
    assert "postgres" not in out and "(hidden)" in out and "environment CARDEA_ISSUER" in out
    for line in site.master_key.read_text().split():
        assert line not in out
    fails(site, "config", "--token-ttl", "1s", status=2)


def test_config_without_a_database():
    done = subprocess.run([binary(), "config"], env=base_environment(), capture_output=True, text=True)
    assert done.returncode == 0 and "CARDEA_TOKEN_TTL" in done.stdout


def test_no_master_key_is_needed_to_look(site):
    assert site.cli("key", "list", "--tenant", "acme", MASTER_KEY_FILE=None).status == 0


@pytest.mark.parametrize("verb", [
    ["key", "create", "--tenant", "acme", "--name", "x", "--scope", "data:read", "--expires", "1d"],
    ["key", "rotate", "key_" + "a" * 24], ["signing-key", "rotate"], ["signing-key", "reseal"], ["serve"]],
    ids=lambda verb: " ".join(verb[:2]))
def test_master_key(site, verb):
    """Not set is wrong usage; a file that is no good is a failure."""
    done = site.cli(*verb, check=False, MASTER_KEY_FILE=None)
    assert done.status == 2 and "CARDEA_MASTER_KEY_FILE is not set" in done.err
    done = site.cli(*verb, check=False, MASTER_KEY_FILE="/nonexistent")
    assert done.status == 1 and "master key file /nonexistent: " in done.err


def test_bad_setting_is_wrong_usage(site):
    done = site.cli("tenant", "list", check=False, TOKEN_TTL="1s")
    assert done.status == 2 and "CARDEA_TOKEN_TTL" in done.err


def test_database_away(site):
    done = site.cli("tenant", "list", check=False, DATABASE_URL="host=/nonexistent dbname=x")
    assert done.status == 1 and "/nonexistent" in done.err and len(done.err.splitlines()) == 1


def test_hung_hosts_are_passed_over(site):
    """They accept connections and say nothing. The third of three hosts answers, within the time of one command."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        good = psycopg2.extensions.parse_dsn(site.database)
        url = psycopg2.extensions.make_dsn(**dict(
            good, host=f"127.0.0.1,127.0.0.1,{good['host']}",
            port=f"{one.getsockname()[1]},{two.getsockname()[1]},{good.get('port', 5432)}"))

        def call(verb):
            begin = time.monotonic()
            done = site.cli(*verb, DATABASE_URL=url)
            assert done.err == "" and time.monotonic() - begin < 10

        commands = [["tenant", "list"], ["config"], ["migrate"]]
        run_threads(len(commands), lambda n: call(commands[n]))


def test_full_disk(site):
    with open("/dev/full", "w") as full:
        done = subprocess.run([binary(), "tenant", "list"], env=site.environment(), stdout=full, stderr=subprocess.PIPE,
                              text=True)
    assert done.returncode == 1 and "standard output" in done.stderr


def without_output(site, where, *args):
    """Standard output is a full disk, is closed, or its reader has gone: the one line that is left to say."""
    reader, writer = os.pipe()
    os.close(reader)
    target = {"full": "/dev/full", "closed": "&-", "gone": f"&{writer}"}[where]
    done = subprocess.run(["bash", "-c", f'"$@" >{target}', "bash", binary(), *args], env=site.environment(),
                          capture_output=True, text=True, pass_fds=[writer])
    os.close(writer)
    assert done.returncode == 1 and done.stdout == "" and len(done.stderr.splitlines()) == 1, done
    assert done.stderr.startswith("cardea: cannot write to standard output")
    return done.stderr


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["table", "json"])
@pytest.mark.parametrize("where", ["full", "closed", "gone"])
def test_secret_that_nobody_has_seen(site, where, form):
    """The key is there all the same: one is told which it is, and what to do."""
    said = without_output(site, where, "key", "create", "--tenant", "acme", "--name", "unseen", "--scope", "data:read",
                          "--expires", "1d", *form)
    key_id = re.search(r"key (key_\w+) exists", said)[1]
    assert f"`cardea key delete {key_id}`" in said and f"`cardea key rotate {key_id}`" in said
    assert site.cli_json("key", "show", key_id)["status"] == "active"
    first = site.cli_json("key", "rotate", key_id)  # as it says
    assert site.instances[0].token(first).status == 200
    said = without_output(site, where, "key", "rotate", key_id, "--overlap", "1h", *form)
    assert f"key {key_id} has a new secret" in said and f"`cardea key rotate {key_id}`" in said
    assert site.instances[0].token(first).status == 200, "the old one is valid meanwhile, which it says"
    assert f"valid until {site.cli_json('key', 'show', key_id)['previous_secret_expires_at']}" in said
    said = without_output(site, where, "key", "rotate", key_id, *form)
    assert f"`cardea key rotate {key_id}`" in said and "valid until" not in said
    site.cli("key", "delete", key_id)


def test_public_keys_that_were_not_printed(site, tmp_path):
    """There is no secret to be lost."""
    public = jwk.JWK.generate(kty="EC", crv="P-256", use="sig", alg="ES256").export_public(as_dict=True)
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [public]}))
    said = without_output(site, "full", "key", "create", "--tenant", "acme", "--name", "x", "--scope", "data:read",
                          "--expires", "1d", "--jwks", tmp_path / "jwks.json")
    assert "has been created" in said and "secret" not in said and "rotate" not in said


def test_closed_standard_files(server):
    """No connection and no listener takes their place, or it would be sent what is logged."""
    with new_site(server) as fresh:
        instance = fresh.start(program=["bash", "-c", 'exec "$@" <&- >&- 2>&-', "bash"])
        files = {os.readlink(f"/proc/{instance.process.pid}/fd/{fd}") for fd in range(3)}
        assert files == {"/dev/null"}


def test_audit_names_the_user(site):
    """What the command line does is written down like everything else."""
    key = site.key(name="audited")
    site.cli("key", "disable", key["key_id"])
    rows = site.sql("SELECT actor, action, tenant_id FROM audit WHERE object LIKE %s ORDER BY id", f"%{key['key_id']}%")
    assert [row[1] for row in rows] == ["key.create", "key.update"] or len(rows) == 2
    assert all(row[0].startswith("cli:") and row[2] == "acme" for row in rows)
    assert site.sql("SELECT count(*) FROM audit WHERE changes::text LIKE %s", f"%{key['secret'][7:]}%") == [(0,)]
