# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL goes away in every way it can, and comes back. Good credentials get 200 or 503 with Retry-After, in
time; what is served from memory does not notice; nothing has to be restarted, and nothing is left open."""
import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import threading
import time

import psycopg2
import psycopg2.extensions
import pytest
from conftest import Postgres, Standby, connection, execute, free_port, new_site, wait_until
from pressure import SLACK, Clients, Public, count_files, database_lines

TIMEOUT = 2.0      # CARDEA_DATABASE_TIMEOUT
TO_NOT_READY = 3.0
TO_READY = 3.0
TO_TOKEN = 2.0
CONNECTIONS = 7    # of two workers, three each, and one of the jobs


def backends(url):
    return execute(url, "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'cardea%%'")[0][0]


class Outage:
    """Clients around a fault. begin() is the moment of the fault, end() that of its mending."""

    def __init__(self, instance, key, report=None):
        self.instance, self.report = instance, report or {}
        self.tokens, self.public = Clients(instance, key), Public(instance, key, count=1)

    def __enter__(self):
        self.files = count_files(self.instance)
        self.lines = len(self.instance.log().splitlines())
        self.since = time.monotonic()
        self.tokens.__enter__()
        self.public.__enter__()
        wait_until(lambda: self.tokens.statuses()[200] >= 3, "tokens before the fault")
        return self

    def __exit__(self, kind, *_):
        self.public.__exit__()
        self.tokens.__exit__()
        if kind is None:
            self.judge()

    def begin(self):
        self.begun = time.monotonic()

    def becomes_unready(self):
        wait_until(lambda: self.instance.ops("/readyz").status == 503, "/readyz says no", TO_NOT_READY + SLACK)
        self.unready_after = time.monotonic() - self.begun
        # For as long as it lasts: callers are told at once, and nothing piles up.
        seen = len(self.tokens.seen)
        wait_until(lambda: len(self.tokens.seen) >= seen + 10, "refusals go on")

    def end(self):
        self.ended = time.monotonic()

    def recovers(self, within=TO_TOKEN):
        wait_until(lambda: self.tokens.first_token_after(self.ended), "the first token", within + SLACK)
        self.token_after = self.tokens.first_token_after(self.ended)
        wait_until(self.instance.is_ready, "/readyz says yes", TO_READY + SLACK)
        self.ready_after = time.monotonic() - self.ended
        print(f"first token {self.token_after:.2f} s, ready {self.ready_after:.2f} s after the return; "
              f"not ready {getattr(self, 'unready_after', 0):.2f} s after the fault; {dict(self.tokens.statuses())}")

    def judge(self):
        assert not self.tokens.broken and not self.public.broken
        for seen in self.tokens.seen:
            assert seen.status in (200, 503), seen
            assert seen.took <= TIMEOUT + SLACK, seen
            if seen.status == 503:
                assert int(seen.answer.header("Retry-After")) >= 1
                assert seen.answer.json()["error"] == "temporarily_unavailable"
        assert set(self.public.statuses()) == {200}
        slowest = max(seen.took for seen in self.public.seen)
        assert slowest <= SLACK, f"what comes from memory took {slowest:.2f} s"
        elapsed = time.monotonic() - self.since
        lines = database_lines(self.instance, self.lines)
        # A gate for connections and one for what needs a person; a line each at the first moment.
        assert len(lines) <= elapsed + 3, lines
        assert self.instance.alive()
        wait_until(lambda: count_files(self.instance) <= self.files + 1, "no descriptor is left open")


class World:
    def __init__(self, postgres):
        self.postgres = postgres
        self.site = None

    def backends_settle(self):
        wait_until(lambda: backends(self.site.database) == CONNECTIONS, "as many connections as before", 10)


@pytest.fixture(scope="module")
def world():
    own = Postgres(tcp=True, max_connections=80)  # so few that a test can take them all in a moment
    try:
        made = World(own)
        with new_site(own.tcp_url()) as site:
            made.site = site
            made.key = site.demo()
            made.instance = site.start()
            yield made
    finally:
        own.close()


@pytest.fixture
def outage(world):
    world.instance.wait_ready()
    world.backends_settle()
    with Outage(world.instance, world.key) as fault:
        yield fault
    world.backends_settle()


def test_killed(world, outage):
    outage.begin()
    world.postgres.stop(signal.SIGQUIT)
    outage.becomes_unready()
    world.postgres.start()
    outage.end()
    outage.recovers()


def test_restarted(world, outage):
    outage.begin()
    world.postgres.stop(signal.SIGINT)  # fast shutdown: every client is told
    world.postgres.start()
    outage.end()
    outage.recovers()


def test_hung(world, outage):
    outage.begin()
    world.postgres.pause()
    try:
        outage.becomes_unready()
        slow = [seen for seen in outage.tokens.seen if seen.took > 0.5]
        assert len(slow) <= 30, "only those who were waiting when it was noticed waited"
    finally:
        world.postgres.resume()
    outage.end()
    outage.recovers()


def test_backends_killed_again_and_again(world, outage):
    """As an administrator does it, or a pooler: reads are tried again, so most clients never know."""
    for _ in range(5):
        outage.begin()
        execute(world.site.server, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                                   " WHERE application_name LIKE 'cardea%%'")
        outage.end()
        wait_until(lambda: outage.tokens.first_token_after(outage.ended), "the next token", TO_TOKEN + SLACK)
    outage.recovers()
    assert outage.tokens.statuses()[503] <= 10


def test_locked_tables(world, outage):
    """Slow in one place: somebody holds a lock on what tokens are made from."""
    with connection(world.site.database) as conn, conn.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE api_key, signing_key, scope IN ACCESS EXCLUSIVE MODE")
        outage.begin()
        outage.becomes_unready()
        cursor.execute("COMMIT")
        outage.end()
    outage.recovers()


class SlowWay:
    """A proxy in front of PostgreSQL that holds every answer back."""

    def __init__(self, port):
        self.target, self.delay = port, 0.0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
                for source, sink, held in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self.carry, args=(source, sink, held), daemon=True).start()

    def carry(self, source, sink, held):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if held and self.delay:
                    time.sleep(self.delay)
                sink.sendall(data)
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.listener.close()


def test_slow(world):
    """Half a second for each answer: tokens are late but come. Longer than the timeout: 503, and on time."""
    way = SlowWay(world.postgres.port)
    url = psycopg2.extensions.make_dsn(world.site.database, port=way.port)
    instance = world.site.start(DATABASE_URL=url)
    try:
        with Outage(instance, world.key) as fault:
            way.delay = 0.5
            wait_until(lambda: any(seen.took > 0.4 for seen in fault.tokens.seen), "late answers")
            assert fault.tokens.statuses()[503] == 0, "late is not away"
            fault.begin()
            way.delay = 5.0
            fault.becomes_unready()
            way.delay = 0.0
            fault.end()
            fault.recovers(within=TO_TOKEN + TIMEOUT)  # answers held back before are still on their way
    finally:
        instance.stop()
        way.close()
    world.backends_settle()


@contextlib.contextmanager
def full_tablespace(world):
    """The database's new pages go to a disk of 2 MB with a few KB left. Without the right to mount one, every
    write of a row fails with the same SQLSTATE."""
    place = world.postgres.dir / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(place)], check=False,
                             capture_output=True).returncode == 0
    tables = ("api_key", "audit")
    try:
        if not mounted:
            for table in tables:
                world.site.sql("CREATE OR REPLACE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
                               " $$BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = '53100'; END$$")
                world.site.sql(f"CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON {table}"
                               " FOR EACH ROW EXECUTE FUNCTION full_disk()")
            yield lambda: [world.site.sql(f"DROP TRIGGER full_disk ON {table}") for table in tables]
            return
        shutil.chown(place, *(["postgres", "postgres"] if os.geteuid() == 0 else []))
        world.site.sql(f"CREATE TABLESPACE small LOCATION '{place}'")
        for table in tables:
            world.site.sql(f"ALTER TABLE {table} SET TABLESPACE small")
        filler = place / "filler"
        with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        yield filler.unlink
    finally:
        if mounted:
            for table in tables:
                world.site.sql(f"ALTER TABLE {table} SET TABLESPACE pg_default")
            world.site.sql("DROP TABLESPACE small")
            subprocess.run(["umount", "-l", str(place)], check=False)
        place.rmdir()


def test_full_disk(world, outage):
    """Tokens need no write: they go on. What does need one says 503, and works again without help."""
    admin = world.site.management_token(instance=world.instance)
    expires = "2099-01-01T00:00:00Z"

    def create(number):
        return world.instance.api(admin, "POST", "/v1/tenants/acme/keys",
                                  dict(name=f"k{number}", scopes=["data:read"], expires_at=expires,
                                       description="x" * 900))

    with full_tablespace(world) as mend:
        outage.begin()
        answer = None
        for number in range(200):  # until the pages that were there already are full
            answer = create(number)
            if answer.status != 201:
                break
        assert answer.status == 503 and int(answer.header("Retry-After")) >= 1, answer
        assert "space" not in answer.body.decode() and "small" not in answer.body.decode()
        before = len(outage.tokens.seen)
        wait_until(lambda: len(outage.tokens.seen) > before + 100, "tokens go on", 60)
        assert world.instance.is_ready()
        mend()
        outage.end()
        wait_until(lambda: create("after").status == 201, "changes work again", 5)
        outage.recovers()
    assert outage.tokens.statuses()[503] <= 3, outage.tokens.statuses()


# --- with a role of its own -----------------------------------------------------------------------


class Role:
    """A role with a password that may be refused, other than the superuser's."""

    def __init__(self, postgres, site):
        self.postgres, self.site = postgres, site
        self.database = psycopg2.extensions.parse_dsn(site.database)["dbname"]
        hba = postgres.data / "pg_hba.conf"
        text = hba.read_text()
        hba.write_text("host all cardea 127.0.0.1/32 scram-sha-256\n" + text)
        site.sql("CREATE ROLE cardea LOGIN PASSWORD 'first-secret'")
        site.sql("GRANT ALL ON ALL TABLES IN SCHEMA public TO cardea")
        site.sql("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO cardea")
        site.sql("SELECT pg_reload_conf()")
        self.url = postgres.tcp_url(self.database, "cardea") + " password=first-secret"

    def terminate(self):
        execute(self.site.server, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'cardea'")


@pytest.fixture(scope="module")
def role(world):
    return Role(world.postgres, world.site)


@pytest.fixture
def as_role(world, role):
    instance = world.site.start(DATABASE_URL=role.url)
    yield instance
    instance.stop()
    world.backends_settle()


def test_password_changed(world, role, as_role):
    with Outage(as_role, world.key) as fault:
        fault.begin()
        world.site.sql("ALTER ROLE cardea PASSWORD 'another-secret'")
        role.terminate()
        fault.becomes_unready()
        wait_until(lambda: "password authentication failed" in as_role.log(), "the reason", 5)
        world.site.sql("ALTER ROLE cardea PASSWORD 'first-secret'")
        fault.end()
        fault.recovers()
    assert "-secret" not in as_role.log()


def test_too_many_clients(world, role, as_role):
    """Every place that ordinary roles may have is taken by others."""
    others = []
    world.site.sql("CREATE ROLE other LOGIN")
    with Outage(as_role, world.key) as fault, connection(world.site.server) as conn, conn.cursor() as cursor:
        fault.begin()

        def all_taken():
            # Again and again: a backend that is just ending still has its place, and leaves it to whoever comes first.
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'cardea'")
            left = cursor.rowcount
            with pytest.raises(psycopg2.OperationalError, match="remaining connection slots|too many clients"):
                while True:
                    others.append(psycopg2.connect(world.postgres.url("postgres", "other")))
            return left == 0 and ("connection slots" in as_role.log() or "too many clients" in as_role.log())

        wait_until(all_taken, "the reason")
        fault.becomes_unready()
        for other in others:
            other.close()
        fault.end()
        fault.recovers()


# --- several hosts, and starting first -------------------------------------------------------------


@pytest.mark.parametrize("how", ["killed", "hung"])
def test_failover(postgres, how):
    with new_site(postgres.tcp_url()) as site:
        key = site.demo()
        standby = Standby(postgres)
        database = psycopg2.extensions.parse_dsn(site.database)["dbname"]
        instance = site.start(DATABASE_URL=f"host=127.0.0.1,127.0.0.1 port={postgres.port},{standby.port}"
                                           f" dbname={database} user=postgres")
        try:
            with Outage(instance, key) as fault:
                new_key = site.key(name="made just before")
                wait_until(lambda: execute(standby.tcp_url(database), "SELECT 1 FROM api_key WHERE key_id = %s",
                                           new_key["key_id"]), "the standby has caught up")
                fault.begin()
                if how == "killed":
                    postgres.stop()
                else:
                    postgres.pause()
                fault.becomes_unready()
                standby.promote()
                fault.end()
                # A round that has just begun with the host that hangs costs its deadline first.
                fault.recovers(within=TO_TOKEN if how == "killed" else TO_TOKEN + TIMEOUT)
            assert instance.token(new_key).status == 200
            # Those that nobody has used since do not know of a host that hangs: all but the look-ups' and the jobs'.
            least = CONNECTIONS if how == "killed" else 3
            wait_until(lambda: least <= backends(standby.tcp_url(database)) <= CONNECTIONS,
                       "as many connections as before", 10)
        finally:
            instance.stop()
            standby.close()
            postgres.resume() if how == "hung" else postgres.start()


def test_started_after_the_server(postgres):
    with new_site(postgres.tcp_url()) as site:
        key = site.demo()
        postgres.stop()
        instance = site.start(wait=False).wait_live()
        answer = instance.ops("/readyz")
        assert answer.status == 503
        refusal = instance.token(key)
        assert refusal.status == 503 and refusal.header("Retry-After")
        assert instance.get("/.well-known/jwks.json").status == 503, "an empty set would be cached"
        postgres.start()
        back = time.monotonic()
        wait_until(lambda: instance.token(key).status == 200, "the first token", TO_TOKEN + SLACK)
        print(f"first token {time.monotonic() - back:.2f} s after the database's start")
        wait_until(instance.is_ready, "ready", TO_READY + SLACK)
        assert len(database_lines(instance)) < 15


def test_told_to_stop_before_the_database_has_answered(postgres):
    """A hung database at the start: signals are obeyed, and the process is there to be asked soon."""
    with new_site(postgres.tcp_url()) as site:
        postgres.pause()
        try:
            for number in (signal.SIGTERM, signal.SIGHUP):
                instance = site.start(wait=False)
                # Its connection is being waited for; the handlers are in place before it is opened.
                wait_until(lambda i=instance: any("socket" in os.readlink(f) for f in pathlib.Path(
                    f"/proc/{i.process.pid}/fd").iterdir() if f.is_symlink()), "it connects")
                time.sleep(0.2)
                instance.signal(number)
                if number == signal.SIGTERM:
                    assert instance.wait_exit(5) == 0, instance.log()
                else:
                    instance.wait_live()
                    assert instance.ops("/readyz").status == 503
        finally:
            postgres.resume()
        site.instances[-1].wait_ready()


def test_slow_management_request_is_alone(server):
    """PostgreSQL gives a slow statement up before our own deadline, which would drop the connection of all of them."""
    with new_site(server, WORKERS="1", DATABASE_TIMEOUT="4s") as site:
        site.demo()
        instance = site.start()
        admin = site.management_token()

        def connections():
            return sorted(site.sql("SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
                                   "AND application_name = 'cardea'"))

        before = connections()
        with connection(site.database) as conn, conn.cursor() as cursor:
            cursor.execute("BEGIN; LOCK TABLE audit IN ACCESS EXCLUSIVE MODE")
            answer = instance.api(admin, "GET", "/v1/tenants/acme/audit")
            assert (answer.status, answer.header("Retry-After") is not None) == (503, True)
            assert instance.api(admin, "GET", "/v1/tenants/acme/keys").status == 200
            cursor.execute("ROLLBACK")
        assert instance.api(admin, "GET", "/v1/tenants/acme/audit").status == 200
        assert connections() == before
        assert not instance.log_lines(event="database_away")
