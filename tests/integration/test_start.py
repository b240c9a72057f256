# SPDX-License-Identifier: Apache-2.0
"""Starting: what is wrong is said in one sentence; what mends itself is waited for."""
import base64
import json
import os
import pwd
import re
import signal
import socket
import subprocess


import psycopg2.extensions
import pytest
from conftest import (base_environment, binary, execute, free_port, new_site, run_threads, wait_until,
                      with_database)


def serve(site, *args, **settings):
    """A start that must fail: exit status and what it said."""
    settings = {"LISTEN": f"127.0.0.1:{free_port()}", "OPS_LISTEN": "", **settings}
    done = site.cli("serve", *args, check=False, **settings)
    assert done.status != 0 and done.out == ""
    return done


def sentence(done):
    """The only complaint on standard error; of a JSON line its reason."""
    lines = [line for line in done.err.splitlines() if '"level":"info"' not in line]
    assert len(lines) == 1, done.err
    if lines[0].startswith("{"):
        line = json.loads(lines[0])
        assert line["level"] == "error"
        return line["reason"]
    assert lines[0].startswith("cardea: ")
    return lines[0][8:]


# --- settings -----------------------------------------------------------------------------------

BAD = {
    "ISSUER": ["ftp://x.example", "x.example", "https://x.example/", "http://x.example", "https://", "https://x.example?a",
               "https://x.example#a", "https://u@x.example", "https://x .example", "http://127.0.0.1.example.com",
               "https://x.example:99999", "https://x.example:port", "https://[::1", "https:///x", "https://x.example,y.example",
               "https://x.example//a", "https://x.example/a//b", "https://x.example/a/../b", "https://x.example/.", "https://x.example/%61",
               "https://x.example/console", "https://x.example/console/a", "https://x.example/.well-known"],
    "LISTEN": ["8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "x.example:80", "127.0.0.1:80:80",
               ":::80", "127.0.0.1:8080 127.0.0.1:8081", ",".join(f"127.0.0.1:{p}" for p in range(8000, 8010))],
    "OPS_LISTEN": ["9090"],
    "MANAGEMENT_LISTEN": ["9090"],
    "TOKEN_TTL": ["9s", "25h", "10", "ten", "-10s", "1e3s", "10m 1s", "99999999999999d"],
    "TOKEN_TYP": ["jwt", "AT+JWT", "x"],
    "SIGNING_ALG": ["HS256", "none", "es256", "RS512", "ES256,RS256"],
    "SIGNING_KEY_ROTATION": ["1s", "30"],
    "JWKS_MAX_AGE": ["4s", "25h"],
    "JWKS_MARGIN": ["0s", "999ms"],
    "WORKERS": ["-1", "65", "two", "1.5", "0x2"],
    "MAX_CONNECTIONS": ["0", "1000001", "10k"],
    "MAX_PENDING": ["0"],
    "HEADER_TIMEOUT": ["99ms", "61m", "0"],
    "BODY_TIMEOUT": ["99ms"], "IDLE_TIMEOUT": ["99ms"], "TLS_TIMEOUT": ["99ms"], "DATABASE_TIMEOUT": ["99ms"],
    "DRAIN_TIMEOUT": ["2h"], "DRAIN_IDLE": ["x"],
    "FAILED_AUTH_LIMIT": ["0/min", "20", "20/s", "100001/min", "on"],
    "LOG_FORMAT": ["xml"],
    "LOG_LEVEL": ["verbose"],
    "TRUSTED_PROXIES": ["10.0.0.0/33", "10.0.0.1/8", "x", "10.0.0.0/8;::1"],
    "AUDIENCE": ["a b", "a\tb", "a" * 256],
}


@pytest.mark.parametrize("name, value", [(name, value) for name, values in BAD.items() for value in values])
def test_bad_value(site_of_settings, name, value):
    """The sentence names the setting, where it was read, and what is accepted."""
    done = serve(site_of_settings, **{name: value})
    assert done.status == 2
    said = sentence(done)
    assert "CARDEA_" + name in said and "environment" in said and "it accepts " in said


@pytest.fixture(scope="module")
def site_of_settings(server):
    with new_site(server) as site:
        yield site


def test_where_it_was_read(site_of_settings):
    site = site_of_settings
    ini = site.dir / "bad.ini"
    ini.write_text("# a comment\nworkers = 2\ntoken_ttl = 1s\n")
    said = sentence(serve(site, "--config", ini, TOKEN_TTL=None, WORKERS=None))
    assert f"{ini}, line 3" in said and "10s to 24h" in said and "token_ttl" in said.lower()
    said = sentence(serve(site, "--token-ttl", "1s"))
    assert "--token-ttl" in said and "10s to 24h" in said


@pytest.mark.parametrize("line, word", [
    ("tokenttl = 10m", "token_ttl"), ("colour = red", "colour"), ("token_ttl", "line 1"), ("token_ttl = 10m\ntoken_ttl = 11m", "twice")])
def test_bad_lines_of_a_file(site_of_settings, line, word):
    ini = site_of_settings.dir / "bad.ini"
    ini.write_text(line + "\n")
    done = serve(site_of_settings, "--config", ini)
    assert done.status == 2
    assert str(ini) in sentence(done) and word in sentence(done)


def test_unknown_setting(site_of_settings):
    done = serve(site_of_settings, TOKEN_TTLL="10m")
    assert done.status == 2
    assert "CARDEA_TOKEN_TTLL" in sentence(done) and "did you mean CARDEA_TOKEN_TTL?" in sentence(done)


def test_absent_file(site_of_settings):
    done = serve(site_of_settings, "--config", "/nonexistent/cardea.ini")
    assert done.status == 2 and "/nonexistent/cardea.ini" in sentence(done)


@pytest.mark.parametrize("missing", ["ISSUER", "MASTER_KEY_FILE"])
def test_required_settings(site_of_settings, missing):
    done = serve(site_of_settings, **{missing: None})
    assert done.status == 2
    assert f"CARDEA_{missing} is not set" in sentence(done)


def test_tls_settings_belong_together(site_of_settings):
    assert "CARDEA_TLS_KEY_FILE" in sentence(serve(site_of_settings, TLS_CERT_FILE="/x"))


def test_secrets_are_not_echoed(site_of_settings):
    done = serve(site_of_settings, DATABASE_URL="postgresql://u:hunter2@[/x")
    assert "CARDEA_DATABASE_URL" in sentence(done) and "hunter2" not in done.err
    done = site_of_settings.cli("tenant", "list", check=False, DATABASE_URL="postgresql://u:hunter2@[/x")
    assert done.status == 1 and "CARDEA_DATABASE_URL" in done.err and "hunter2" not in done.err


def test_audience_is_not_the_issuer(site_of_settings):
    for slash in "", "/":
        done = serve(site_of_settings, AUDIENCE=site_of_settings.issuer + slash)
        assert "CARDEA_AUDIENCE" in sentence(done)


@pytest.mark.parametrize("listen, management, ops, named", [
    ("127.0.0.1:{0}", "127.0.0.1:{0}", "", "MANAGEMENT_LISTEN"),
    ("127.0.0.1:{1},[::1]:{0}", "127.0.0.1:{2},[::1]:{0}", "", "MANAGEMENT_LISTEN"),
    ("127.0.0.1:{0}", "localhost:{0}", "", "MANAGEMENT_LISTEN"),
    ("127.0.0.1:{0}", "", "127.0.0.1:{0}", "OPS_LISTEN"),
    ("127.0.0.1:{0}", "127.0.0.1:{1}", "127.0.0.1:{1}", "OPS_LISTEN")])
def test_one_address_for_two_listeners(site_of_settings, listen, management, ops, named):
    """The kernel would deal connections out between them."""
    ports = [free_port() for _ in range(3)]
    done = serve(site_of_settings, LISTEN=listen.format(*ports), MANAGEMENT_LISTEN=management.format(*ports),
                 OPS_LISTEN=ops.format(*ports))
    assert done.status == 2 and f"CARDEA_{named} names an address" in sentence(done)


def test_port_taken(site_of_settings):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for setting in ("LISTEN", "OPS_LISTEN", "MANAGEMENT_LISTEN"):
            done = serve(site_of_settings, **{setting: f"127.0.0.1:{port}"})
            reasons = [json.loads(line) for line in done.err.splitlines()]
            assert any(line["level"] == "error" and str(port) in line["reason"] and "in use" in line["reason"]
                       for line in reasons), done.err
            assert done.status == 1


def test_two_servers_do_not_share_a_port(server):
    with new_site(server) as site:
        instance = site.start()
        done = site.cli("serve", check=False, LISTEN=f"127.0.0.1:{instance.port}", OPS_LISTEN="")
        assert done.status == 1 and "in use" in done.err


# --- the master key -----------------------------------------------------------------------------

KEY = base64.b64encode(b"k" * 32).decode()


@pytest.mark.parametrize("text, words", [
    ("", "no key"), ("\n\n", "no key"), ("# only a comment\n", ""), (base64.b64encode(b"k" * 31).decode(), "31 bytes"),
    (base64.b64encode(b"k" * 33).decode(), "33 bytes"), ("not base64!", "line 1"), (KEY + "\n" + KEY, "repeats"),
    ("k" * 32, "line 1"), (KEY[:-1], "line 1"), (KEY + "\nx", "line 2"), ("x" * 100000, "long")])
def test_bad_master_key(server, text, words):
    with new_site(server) as site:
        site.master_key.write_text(text)
        done = serve(site)
        assert done.status == 1
        said = sentence(done)
        assert str(site.master_key) in said and words in said
        assert "k" * 20 not in said and KEY not in said


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o602, 0o444])
def test_master_key_that_others_can_read(server, mode):
    with new_site(server) as site:
        site.master_key.chmod(mode)
        said = sentence(serve(site))
        assert "others can read it" in said and "chmod 600" in said and str(site.master_key) in said
        assert "others can read it" in site.cli("key", "create", "--tenant", "x", "--name", "x", "--scope", "x",
                                                "--expires", "1d", check=False).err


def test_missing_master_key(server):
    with new_site(server) as site:
        site.master_key.unlink()
        assert str(site.master_key) in sentence(serve(site))
        os.mkdir(site.master_key)
        assert "not a regular file" in sentence(serve(site))


def test_wrong_master_key(server):
    """Noticed at the start, not at the first token, and with an empty set of secrets too."""
    with new_site(server) as site:
        site.start().stop()
        site.write_master_key(os.urandom(32))
        done = serve(site)
        assert done.status == 1
        assert "master key" in sentence(done)
        key = site.cli("key", "list", "--tenant", "acme", check=False)
        assert key.status in (0, 1), "lists need no master key"


def test_master_keys_are_exchanged(server):
    """A new first line; the old key still opens what it has sealed."""
    old, new = os.urandom(32), os.urandom(32)
    with new_site(server) as site:
        site.write_master_key(old)
        key = site.demo()
        site.start().stop()
        site.write_master_key(new, old)
        assert site.start().token(key).status == 200


# --- the database -------------------------------------------------------------------------------


def test_no_schema(server):
    with new_site(server, migrated=False) as site:
        done = serve(site)
        assert done.status == 1
        assert "no schema" in sentence(done) and "cardea migrate" in sentence(done)
        assert "cardea migrate" in site.cli("tenant", "list", check=False).err
        site.cli("migrate")
        site.start()


def test_older_schema(server):
    with new_site(server) as site:
        site.sql("DELETE FROM schema_migration")
        assert "cardea migrate" in sentence(serve(site))


def test_newer_schema(server):
    with new_site(server) as site:
        site.sql("INSERT INTO schema_migration (version, name, checksum) VALUES (9999, 'later', %s)", "0" * 64)
        assert "upgrade this cardea" in sentence(serve(site)) and "9999" in sentence(serve(site))
        assert "upgrade this cardea" in site.cli("migrate", check=False).err
        assert "upgrade this cardea" in site.cli("tenant", "list", check=False).err


def test_changed_migration(server):
    with new_site(server) as site:
        site.sql("UPDATE schema_migration SET checksum = %s", "0" * 64)
        assert "migration 1" in sentence(serve(site))
        done = site.cli("migrate", check=False)
        assert done.status == 1 and "migration 1" in done.err


def test_migrate_twice_and_at_once(server):
    with new_site(server, migrated=False) as site:
        run_threads(6, lambda _: site.cli("migrate"))
        before = site.sql("SELECT version, checksum, applied_at FROM schema_migration")
        assert json.loads(site.cli("migrate", "--json").out)
        assert site.sql("SELECT version, checksum, applied_at FROM schema_migration") == before


def test_migrate_is_all_or_nothing(server):
    """A migration that fails leaves nothing behind, and can be tried again."""
    with new_site(server, migrated=False) as site:
        site.sql("CREATE TABLE audit (x int)")
        done = site.cli("migrate", check=False)
        assert done.status == 1 and "audit" in done.err
        assert site.sql("SELECT relname FROM pg_class WHERE relname IN ('tenant', 'api_key', 'schema_migration')") == []
        site.sql("DROP TABLE audit")
        site.cli("migrate")


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "EUC_JP"])
def test_migrate_refuses_other_encodings(server, encoding):
    """Not every name could be stored. Nothing is changed, and the sentence's command makes a database that will do."""
    name = f"encoding_{os.getpid()}"
    execute(server, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'")
    url = with_database(server, name)
    try:
        done = subprocess.run([binary(), "migrate"], env=dict(base_environment(), CARDEA_DATABASE_URL=url), text=True,
                              capture_output=True)
        assert done.returncode == 1 and done.stdout == ""
        assert done.stderr.startswith(f"cardea: the database's encoding is {encoding}, and Cardea needs UTF8: ")
        assert execute(url, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace") == []
        execute(server, f"DROP DATABASE {name}")
        command = re.search(r"`(createdb .*) NAME`", done.stderr)[1]
        parts = psycopg2.extensions.parse_dsn(server)
        given = {"PG" + part.upper(): parts[part] for part in ("host", "port", "user", "password") if part in parts}
        subprocess.run([*command.split(), name], env=dict(base_environment(), **given), check=True)
        subprocess.run([binary(), "migrate"], env=dict(base_environment(), CARDEA_DATABASE_URL=url), check=True)
    finally:
        execute(server, f"DROP DATABASE IF EXISTS {name} (FORCE)")


def test_absent_database_is_waited_for(server):
    """Live, but not ready; then the database comes, and all is well."""
    with new_site(server) as site:
        name = "later_" + os.urandom(4).hex()
        instance = site.start(wait=False, DATABASE_URL=with_database(server, name)).wait_live()
        assert instance.ops("/readyz").status == 503
        assert instance.token({"key_id": "key_" + "a" * 24, "secret": "x"}).status == 503
        assert instance.get("/.well-known/jwks.json").status == 503
        wait_until(lambda: name in instance.log() and "does not exist" in instance.log(), "the log says which database")
        execute(server, f"ALTER DATABASE {site.database.split('dbname=')[1].split()[0]} RENAME TO {name}")
        site.database = with_database(server, name)
        instance.wait_ready()


def test_absent_host(server):
    with new_site(server) as site:
        port = free_port()
        url = f"host=127.0.0.1 port={port} dbname=x user=x"
        instance = site.start(wait=False, DATABASE_URL=url).wait_live()
        assert instance.ops("/readyz").status == 503
        wait_until(lambda: "127.0.0.1" in instance.log() and str(port) in instance.log(), "the log says which host")
        assert "refused" in instance.log()
        done = site.cli("tenant", "list", check=False, DATABASE_URL=url)
        assert done.status == 1 and "127.0.0.1" in done.err and "refused" in done.err


def test_hung_host(server):
    """It accepts connections and says nothing: only a deadline notices."""
    with new_site(server) as site, socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"host=127.0.0.1 port={deaf.getsockname()[1]} dbname=x user=x"
        instance = site.start(wait=False, DATABASE_URL=url, DATABASE_TIMEOUT="300ms").wait_live()
        assert instance.ops("/readyz").status == 503
        assert instance.token({"key_id": "key_" + "a" * 24, "secret": "x"}).status == 503


def test_wrong_password_and_role(server):
    with new_site(server) as site:
        url = site.database.replace("user=postgres", "user=nobody_here")
        instance = site.start(wait=False, DATABASE_URL=url).wait_live()
        wait_until(lambda: 'role "nobody_here" does not exist' in instance.log().replace("\\", ""), "PostgreSQL's answer")
        assert instance.ops("/readyz").status == 503


def test_wrong_database(server):
    """Another program's: what PostgreSQL answers is said, and nothing is touched."""
    with new_site(server, migrated=False) as site:
        site.sql("CREATE TABLE schema_migration (id int)")
        instance = site.start(wait=False).wait_live()
        assert instance.ops("/readyz").status == 503
        wait_until(lambda: 'column \\"version\\" does not exist' in instance.log(), "PostgreSQL's answer is in the log")
        for args in (["tenant", "list"], ["migrate"]):
            done = site.cli(*args, check=False)
            assert done.status == 1 and 'column "version" does not exist' in done.err


def test_least_rights(server):
    """The server needs what docker/runtime-role.sql grants, and no more."""
    with new_site(server) as site:
        key = site.demo()
        role = "runtime_" + os.urandom(4).hex()
        psql = subprocess.run(["psql", "-X", "-q", site.database, "-v", f"role={role}", "-f",
                               os.path.join(os.path.dirname(__file__), "../../docker/runtime-role.sql")],
                              capture_output=True, text=True, env=base_environment())
        assert psql.returncode == 0, psql.stderr
        url = site.database.replace("user=postgres", f"user={role}")
        instance = site.start(DATABASE_URL=url)
        assert instance.token(key).status == 200
        token = site.management_token()
        answer = instance.api(token, "POST", "/v1/tenants/acme/keys",
                              {"name": "n", "scopes": ["data:read"], "expires_at": "2999-01-01T00:00:00Z"})
        assert answer.status == 201, answer
        assert instance.token(answer.json()).status == 200
        instance.stop()
        execute(site.database, f"DROP OWNED BY {role}")
        execute(server, f"DROP ROLE {role}")


# --- the first signing key ----------------------------------------------------------------------


@pytest.mark.tsan
def test_first_signing_key_is_made_once(server):
    """However many instances start together; and it may sign at once."""
    with new_site(server) as site:
        key = site.demo()
        instances = [site.start(wait=False) for _ in range(4)]
        for instance in instances:
            instance.wait_ready()
        assert site.sql("SELECT state, count(*) FROM signing_key GROUP BY 1") == [("signing", 1)]
        assert len({json.dumps(instance.jwks()) for instance in instances}) == 1
        assert [instance.token(key).status for instance in instances] == [200] * 4


def test_signing_key_is_sealed(server):
    """Nothing of the private key is in the database in clear."""
    with new_site(server) as site:
        site.start()
        ((sealed, public),) = site.sql("SELECT sealed, public_jwk FROM signing_key")
        assert b"PRIVATE" not in bytes(sealed) and "d" not in public
        # The OIDs of EC keys and of P-256, as PKCS #8 has them in clear.
        assert bytes.fromhex("2a8648ce3d0201") not in bytes(sealed)


def test_signing_key_survives_a_restart(server):
    with new_site(server) as site:
        first = site.start()
        keys = first.jwks()
        first.stop()
        assert site.start().jwks() == keys


# --- the process --------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stops_with_status_0(site, number):
    instance = site.start()
    instance.signal(number)
    assert instance.wait_exit() == 0


def test_health(site):
    instance = site.start()
    assert (instance.ops("/livez").status, instance.ops("/readyz").status) == (200, 200)
    metrics = instance.ops("/metrics")
    assert metrics.header("Content-Type").startswith("text/plain; version=0.0.4")
    assert re.search(rb"^# TYPE cardea_\w+ counter$", metrics.body, re.M)
    for path in ("/livez", "/readyz", "/metrics"):
        assert instance.get(path).status == 404, "not on the public listener"
    for path in ("/oauth2/token", "/v1/tenants", "/.well-known/jwks.json"):
        assert instance.ops(path).status == 404, "not on the operations listener"


def test_own_management_listener(server):
    with new_site(server) as site:
        key = site.demo()
        port = free_port()
        instance = site.start(MANAGEMENT_LISTEN=f"127.0.0.1:{port}")
        assert instance.get("/v1/tenants/acme/keys").status == 404
        assert instance.token(key).status == 200
        instance.address = ("127.0.0.1", port)
        assert instance.get("/v1/tenants/acme/keys").status == 401
        assert instance.token(key).status == 200


def test_configuration_file(site):
    """File beats default, environment beats file, flag beats environment."""
    ini = site.dir / "cardea.ini"
    ini.write_text("token_ttl = 1m\ntoken_typ = JWT\nworkers = 1\n")
    shown = json.loads(site.cli("config", "--json", "--config", ini, "--token-typ", "at+jwt", WORKERS="3").out)
    settings = {row["name"]: (row["value"], row["source"]) for row in shown["settings"]}
    assert settings["CARDEA_TOKEN_TTL"][0] in ("1m", "60s") and "line 1" in settings["CARDEA_TOKEN_TTL"][1]
    assert settings["CARDEA_WORKERS"] == ("3", "environment CARDEA_WORKERS")
    assert settings["CARDEA_TOKEN_TYP"] == ("at+jwt", "flag --token-typ")
    assert settings["CARDEA_LOG_FORMAT"] == ("json", "default")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_secrets_cannot_be_dumped(site):
    """No core file, and no way for the same user to attach a debugger."""
    nobody = pwd.getpwnam("nobody")
    os.chmod(site.dir, 0o755)
    os.chown(site.master_key, nobody.pw_uid, nobody.pw_gid)
    instance = site.start(program=["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"])
    limits = open(f"/proc/{instance.process.pid}/limits").read()
    assert re.search(r"Max core file size +0 +0 ", limits)
    assert os.stat(f"/proc/{instance.process.pid}/mem").st_uid == 0, "not dumpable: its memory belongs to root"


def test_help_and_version_need_nothing():
    for args in (["version"], ["help"], ["--help"], ["--version"], ["help", "serve"]):
        done = subprocess.run([binary(), *args], env={"PATH": "/usr/bin"}, capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout and not done.stderr
