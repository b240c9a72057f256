# SPDX-License-Identifier: Apache-2.0
"""A throwaway PostgreSQL, and the real binary on free ports.

A test asks for `site` (a database of its own, a master key and the settings of a deployment; nothing
runs yet) or, where many tests share one, makes a module's fixture with new_site(). site.start() runs
a server, site.cli() the command line. Everything waits for conditions. Stopping a server asserts exit
status 0; a report of a sanitizer in any log fails the test that was running.

Environment: CARDEA_BINARY (build/asan/cardea or build/dev/cardea otherwise), CARDEA_TEST_DATABASE_URL
(a superuser's connection string: databases are made there, and no PostgreSQL is started).
"""
import base64
import collections
import contextlib
import ctypes
import hashlib
import http.client
import itertools
import json
import os
import pathlib
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.parse

import psycopg2
import psycopg2.extensions
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
REPORTS = re.compile(
    r"ERROR: AddressSanitizer|ERROR: LeakSanitizer|runtime error:|WARNING: ThreadSanitizer"
    r"|AddressSanitizer:DEADLYSIGNAL|Assertion `.*' failed|LeakSanitizer has encountered")
# Seconds until a condition counts as never coming true: sanitizers are slow, valgrind more so.
PATIENCE = int(os.environ.get("CARDEA_TEST_PATIENCE", "30"))


def binary():
    named = os.environ.get("CARDEA_BINARY")
    for path in [pathlib.Path(named)] if named else [ROOT / "build" / p / "cardea" for p in ("asan", "dev")]:
        if path.exists():
            return str(path)
    pytest.exit("no cardea binary: run tests/run, or cmake --build --preset dev", 2)


def wait_until(condition, what, timeout=PATIENCE):
    """Polls until the condition gives something true, and returns that."""
    end = time.monotonic() + timeout
    pause = 0.005
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout} s in vain: {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def run_check(*command):
    """What one of docker/check-* prints. Skips where it says that the machine cannot; and all that it started goes with it."""
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                   env=base_environment(), start_new_session=True)
        try:
            status = process.wait(20 * PATIENCE)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        log.seek(0)
        text = log.read()
    if status == 77:
        pytest.skip(text.splitlines()[-1])
    assert status == 0, text
    return text


# --- PostgreSQL ---------------------------------------------------------------------------------


class Postgres:
    """A cluster in a temporary folder, as user postgres when we are root."""

    def __init__(self, tcp=False, max_connections=300):
        programs = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parts[4]))
        assert programs, "no PostgreSQL: apt-get install postgresql"
        self.bin = programs[-1].parent
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="cardea-pg-", dir="/tmp"))
        self.data = self.dir / "data"
        self.user = {}
        if os.geteuid() == 0:
            postgres = pwd.getpwnam("postgres")
            self.user = dict(user=postgres.pw_uid, group=postgres.pw_gid, extra_groups=[])
            os.chown(self.dir, postgres.pw_uid, postgres.pw_gid)
        os.chmod(self.dir, 0o755)  # its socket is also for tests that run the server as somebody else
        self.port = free_port() if tcp else 5432
        self.listen = "127.0.0.1" if tcp else ""
        self.max_connections = max_connections
        self.process = None
        self.run("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N")
        self.start()

    def run(self, program, *args):
        subprocess.run([self.bin / program, *map(str, args)], cwd="/", check=True, capture_output=True, **self.user)

    def start(self):
        log = open(self.dir / "log", "ab")
        self.process = subprocess.Popen(
            [self.bin / "postgres", "-D", self.data, "-k", self.dir, "-p", str(self.port),
             "-c", f"listen_addresses={self.listen}", "-c", "fsync=off", "-c", f"max_connections={self.max_connections}",
             "-c", "shared_buffers=64MB"],
            cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True, stderr=log,
            preexec_fn=die_with_parent, **self.user)
        log.close()
        wait_until(self.answers, "PostgreSQL answers")

    def answers(self):
        assert self.process.poll() is None, (self.dir / "log").read_text()
        try:
            psycopg2.connect(self.url()).close()
            return True
        except psycopg2.OperationalError:
            return False

    def url(self, database="postgres", user="postgres"):
        return f"host={self.dir} port={self.port} dbname={database} user={user}"

    def tcp_url(self, database="postgres", user="postgres"):
        return f"host=127.0.0.1 port={self.port} dbname={database} user={user}"

    def stop(self, how=signal.SIGQUIT):
        """Immediate shutdown, as in a crash."""
        self.process.send_signal(how)
        self.process.wait(PATIENCE)

    def pause(self):
        os.killpg(self.process.pid, signal.SIGSTOP)
        for pid in self.children():
            os.kill(pid, signal.SIGSTOP)

    def resume(self):
        for pid in self.children():
            os.kill(pid, signal.SIGCONT)
        os.killpg(self.process.pid, signal.SIGCONT)

    def children(self):
        """Backends are leaders of sessions of their own."""
        path = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def close(self):
        if self.process and self.process.poll() is None:
            self.resume()
            self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


class Standby(Postgres):
    """A copy of a running cluster that follows it, in its folder."""

    def __init__(self, primary):  # pylint: disable=super-init-not-called
        self.__dict__.update(primary.__dict__)
        self.port = free_port()
        self.data = primary.dir / "standby"
        self.run("pg_basebackup", "-d", f"{primary.url()} application_name=standby", "-D", self.data, "-R",
                 "--checkpoint=fast")
        self.start()

    def promote(self):
        execute(self.tcp_url(), "SELECT pg_promote(true, 60)")

    def close(self):
        if self.process.poll() is None:
            self.stop()


@contextlib.contextmanager
def connection(url):
    """psycopg2's own context manager ends the transaction, but not the connection."""
    conn = psycopg2.connect(url)
    conn.autocommit = True
    try:
        yield conn
    finally:
        conn.close()


def with_database(url, database):
    return psycopg2.extensions.make_dsn(url, dbname=database)


def execute(url, statement, *args):
    with connection(url) as conn, conn.cursor() as cursor:
        cursor.execute(statement, args or None)
        return cursor.fetchall() if cursor.description else None


names = (f"test_{os.getpid()}_{n}" for n in itertools.count())


def schema_template(server):
    """The name of a migrated database: copying it is quicker than migrating each."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(ROOT.glob("sql/*.sql"))))
    name = "cardea_template_" + digest.hexdigest()[:12]
    with connection(server) as conn, conn.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(7261)")  # several pytest workers
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
        if not cursor.fetchone():
            fresh = next(names)
            cursor.execute(f"CREATE DATABASE {fresh}")
            subprocess.run([binary(), "migrate"], check=True, stdout=subprocess.DEVNULL,
                           env=dict(base_environment(), CARDEA_DATABASE_URL=with_database(server, fresh)))
            cursor.execute(f"ALTER DATABASE {fresh} RENAME TO {name}")
    return name


def create_database(server, migrated=True):
    name = next(names)
    template = f" TEMPLATE {schema_template(server)}" if migrated else ""
    execute(server, f"CREATE DATABASE {name}{template}")
    return with_database(server, name)


# --- HTTP ---------------------------------------------------------------------------------------

ports_given = set()


def free_port():
    """Below the range from which the kernel takes ports for outgoing connections."""
    while True:
        port = random.SystemRandom().randrange(10000, 32000)
        if port in ports_given:
            continue
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
        ports_given.add(port)
        return port


class Response:
    def __init__(self, status, headers, body, version=11):
        self.status, self.headers, self.body, self.version = status, headers, body, version

    def json(self):
        return json.loads(self.body)

    def header(self, name):
        """The value; None when it is absent. More than one is an error."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) <= 1, f"{name} occurs {len(values)} times"
        return values[0] if values else None

    def stable(self):
        """Everything that may not tell one refusal from another."""
        return (self.status, sorted((k, v) for k, v in self.headers if k.lower() not in ("date", "x-request-id")),
                self.body)

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:500]!r}>"


def http_request(address, method, path, body=None, headers=None, timeout=PATIENCE):
    conn = http.client.HTTPConnection(*address, timeout=timeout)
    try:
        conn.request(method, path, body, dict(headers or {}))
        answer = conn.getresponse()
        return Response(answer.status, answer.getheaders(), answer.read(), answer.version)
    finally:
        conn.close()


def basic(key_id, secret):
    quoted = urllib.parse.quote(key_id, safe="") + ":" + urllib.parse.quote(secret, safe="")
    return "Basic " + base64.b64encode(quoted.encode()).decode()


def raw_exchange(address, data, timeout=PATIENCE, shut=False):
    """Sends bytes, and returns everything that comes back until the server closes."""
    received = b""
    with socket.create_connection(address, timeout=timeout) as sock:
        end = time.monotonic() + timeout
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(data)
            if shut:
                sock.shutdown(socket.SHUT_WR)
        while True:
            sock.settimeout(max(0.001, end - time.monotonic()))
            try:
                piece = sock.recv(65536)
            except socket.timeout:
                raise AssertionError(f"the connection stayed open; received {received!r}") from None
            if not piece:
                return received
            received += piece


def split_responses(data, heads=()):
    """The answers in a stream, as Response objects; 1xx ones left out. `heads`: indexes of answers to HEAD."""
    responses = []
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        match = re.fullmatch(rb"HTTP/1\.1 (\d{3}) [ -~]*", lines[0])
        assert match, f"not a status line: {lines[0]!r} in {data[:200]!r}"
        headers = [tuple(part.decode("latin-1").strip() for part in line.split(b":", 1)) for line in lines[1:]]
        status = int(match[1])
        if status < 200:
            data = rest
            continue
        lengths = [value for name, value in headers if name.lower() == "content-length"]
        length = 0 if status in (204, 304) or len(responses) in heads else int(lengths[0])
        assert len(rest) >= length, "an answer was cut"
        responses.append(Response(status, headers, rest[:length]))
        data = rest[length:]
    return responses


# --- Cardea -------------------------------------------------------------------------------------


def base_environment():
    """Without settings of the developer's own, of Cardea and of libpq."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("CARDEA_", "PG"))}


class Instance:
    """A running `cardea serve`."""

    def __init__(self, site, port, ops_port, settings, program=()):
        self.site, self.port, self.ops_port = site, port, ops_port
        self.address, self.ops_address = ("127.0.0.1", port), ("127.0.0.1", ops_port)
        self.url = f"http://127.0.0.1:{port}"
        self.log_path = site.dir / f"server-{port}.log"
        settings = dict(dict(LISTEN=f"127.0.0.1:{port}", OPS_LISTEN=f"127.0.0.1:{ops_port}"), **settings)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*program, binary(), "serve"], env=site.environment(**settings), stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=log, preexec_fn=die_with_parent, cwd=site.dir)

    def log(self):
        """Empty once the site has gone: a failure in a teardown is reported all the same."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log_lines(self, **wanted):
        """Parsed lines with these members."""
        lines = [json.loads(line) for line in self.log().splitlines() if line.startswith("{") and line.endswith("}")]
        return [line for line in lines if all(line.get(name) == value for name, value in wanted.items())]

    def request(self, method, path, body=None, headers=None, ops=False, timeout=PATIENCE):
        return http_request(self.ops_address if ops else self.address, method, path, body, headers, timeout)

    def get(self, path, **headers):
        return self.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def ops(self, path):
        return self.request("GET", path, ops=True)

    def raw(self, data, timeout=PATIENCE, shut=False):
        return raw_exchange(self.address, data, timeout, shut)

    def token(self, key=None, headers=None, body=None, post=False, timeout=PATIENCE, **form):
        """POST /oauth2/token with a key as `cardea key create --json` gives it (None: without credentials)."""
        form = {"grant_type": "client_credentials", **form}
        headers = dict(headers or {})
        if key and post:
            form.update(client_id=key["key_id"], client_secret=key["secret"])
        elif key and "Authorization" not in headers:
            headers["Authorization"] = basic(key["key_id"], key["secret"])
        headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
        text = urllib.parse.urlencode([(k, v) for k, v in form.items() if v is not None], doseq=True)
        return self.request("POST", "/oauth2/token", text if body is None else body, headers, timeout=timeout)

    def access_token(self, key, **form):
        answer = self.token(key, **form)
        assert answer.status == 200, answer
        return answer.json()["access_token"]

    def api(self, token, method, path, body=None, **headers):
        """The management API, JSON in and out."""
        headers = {k.replace("_", "-"): v for k, v in headers.items()}
        headers["Authorization"] = f"Bearer {token}"
        if body is not None:
            headers.setdefault("Content-Type",
                               "application/merge-patch+json" if method == "PATCH" else "application/json")
        text = body if body is None or isinstance(body, (str, bytes)) else json.dumps(body)
        return self.request(method, path, text, headers)

    def jwks(self):
        return self.get("/.well-known/jwks.json").json()

    def alive(self):
        return self.process.poll() is None

    def is_live(self):
        assert self.alive(), f"the server ended with {self.process.returncode}:\n{self.log()}"
        try:
            return self.ops("/livez").status == 200
        except OSError:
            return False

    def is_ready(self):
        return self.is_live() and self.ops("/readyz").status == 200

    def wait_ready(self, timeout=PATIENCE):
        wait_until(self.is_ready, "the server is ready", timeout)
        return self

    def wait_live(self):
        wait_until(self.is_live, "the server is live")
        return self

    def metric(self, name, **labels):
        """A value of /metrics; labels as they are printed."""
        suffix = "{" + ",".join(f'{k}="{v}"' for k, v in labels.items()) + "}" if labels else ""
        for line in self.ops("/metrics").body.decode().splitlines():
            if line.rpartition(" ")[0] == name + suffix:
                return float(line.rpartition(" ")[2])
        raise AssertionError(f"no metric {name}{suffix}")

    def signal(self, number):
        self.process.send_signal(number)

    def wait_exit(self, timeout=PATIENCE):
        return self.process.wait(timeout)

    def stop(self, status=0):
        if self.alive():
            self.signal(signal.SIGTERM)
        assert self.wait_exit() == status, f"exit status {self.process.returncode}:\n{self.log()}"

    def kill(self):
        if self.alive():
            self.process.kill()
            self.process.wait()


Finished = collections.namedtuple("Finished", "status out err")


class Site:
    """A database, a master key and settings: what instances of one deployment share."""

    live = []  # all sites of this process, for logs of failures and reports of sanitizers

    def __init__(self, server, migrated=True, **settings):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="cardea-site-", dir="/tmp"))
        self.server = server
        self.database = create_database(server, migrated)
        self.instances = []
        self.cli_errors = []
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        self.master_key = self.dir / "master.key"
        self.write_master_key(os.urandom(32))
        self.settings = dict(DATABASE_URL=self.database, ISSUER=self.issuer, MASTER_KEY_FILE=str(self.master_key),
                             WORKERS="2", DRAIN_IDLE="100ms", DRAIN_TIMEOUT="10s", FAILED_AUTH_LIMIT="off")
        self.settings.update(settings)
        Site.live.append(self)

    def write_master_key(self, *keys):
        self.master_key.write_text("".join(base64.b64encode(key).decode() + "\n" for key in keys))
        self.master_key.chmod(0o600)

    def environment(self, **settings):
        """Of a program: base, the site's settings, these on top; None removes one."""
        merged = {**self.settings, **settings}
        return {**base_environment(), **{"CARDEA_" + k: str(v) for k, v in merged.items() if v is not None}}

    def start(self, wait=True, program=(), **settings):
        """One more instance, ready unless told otherwise. The first listens on the issuer's port."""
        port = self.port if not self.instances else free_port()
        instance = Instance(self, port, free_port(), settings, program)
        self.instances.append(instance)
        return instance.wait_ready() if wait else instance

    def cli(self, *args, check=True, **settings):
        """Runs a command; settings as for start(). With check=False any exit status will do."""
        done = subprocess.run([binary(), *map(str, args)], env=self.environment(**settings), capture_output=True,
                              stdin=subprocess.DEVNULL, text=True, timeout=PATIENCE, cwd=self.dir)
        self.cli_errors.append(done.stderr)
        assert not check or done.returncode == 0, f"cardea {args}: {done.returncode}\n{done.stdout}{done.stderr}"
        return Finished(done.returncode, done.stdout, done.stderr)

    def cli_json(self, *args, **settings):
        return json.loads(self.cli(*args, "--json", **settings).out)

    def tenant(self, name="acme"):
        return self.cli_json("tenant", "create", name, "--name", name.title())

    def scopes(self, *scopes):
        for scope in scopes:
            self.cli("scope", "create", scope, "--title", scope)

    def key(self, tenant="acme", scopes=("data:read", "data:write"), name="a key", expires="90d", options=()):
        """A new key with its secret."""
        return self.cli_json("key", "create", "--tenant", tenant, "--name", name, "--expires", expires,
                             *(arg for scope in scopes for arg in ("--scope", scope)), *options)

    def demo(self):
        """Tenant acme with two scopes and a key, the usual beginning."""
        self.tenant()
        self.scopes("data:read", "data:write")
        return self.key()

    def management_token(self, tenant="acme", scope="cardea.admin", instance=None):
        key = self.key(tenant, [scope], name="admin")
        return (instance or self.instances[0]).access_token(key)

    def sql(self, statement, *args):
        return execute(self.database, statement, *args)

    def reports(self):
        texts = [instance.log() for instance in self.instances] + self.cli_errors
        return [text[max(0, match.start() - 2000):match.start() + 6000] for text in texts
                for match in [REPORTS.search(text)] if match]

    def close(self):
        """Stops what runs, and says so when that or anything before went wrong."""
        problems = []
        for instance in self.instances:
            try:
                if instance.alive():
                    instance.stop()
            except (AssertionError, subprocess.TimeoutExpired) as error:
                instance.kill()
                problems.append(str(error))
        problems += self.reports()
        Site.live.remove(self)
        with contextlib.suppress(psycopg2.OperationalError):
            execute(self.server, f"DROP DATABASE {psycopg2.extensions.parse_dsn(self.database)['dbname']} (FORCE)")
        shutil.rmtree(self.dir, ignore_errors=True)
        assert not problems, "\n".join(problems)


@contextlib.contextmanager
def new_site(server, **settings):
    site = Site(server, **settings)
    try:
        yield site
    finally:
        site.close()


def run_threads(count, work):
    """Runs work(0) … work(count - 1) at once; the first exception is raised here."""
    errors = []

    def one(index):
        try:
            work(index)
        except BaseException as error:  # pylint: disable=broad-except
            errors.append(error)

    threads = [threading.Thread(target=one, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


# --- fixtures -----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def server():
    """Connection string of the shared PostgreSQL, as superuser."""
    return os.environ["CARDEA_TEST_DATABASE_URL"]


@pytest.fixture
def postgres():
    """A PostgreSQL that the test may stop, pause and break."""
    own = Postgres(tcp=True)
    yield own
    own.close()


@pytest.fixture
def site(server):
    with new_site(server) as fresh:
        yield fresh


# --- hooks --------------------------------------------------------------------------------------

shared_postgres = None


def pytest_configure(config):
    global shared_postgres
    config.addinivalue_line("markers", "tsan: also run with ThreadSanitizer")
    is_worker = hasattr(config, "workerinput")
    if not is_worker and not config.option.collectonly and "CARDEA_TEST_DATABASE_URL" not in os.environ:
        shared_postgres = Postgres()
        os.environ["CARDEA_TEST_DATABASE_URL"] = shared_postgres.url()


def pytest_unconfigure(config):
    if shared_postgres:
        shared_postgres.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.when == "call" and report.passed:
        found = [text for site in Site.live for text in site.reports()]
        if found:
            report.outcome = "failed"
            report.longrepr = "a sanitizer's report:\n" + found[0]
    if report.failed:
        for site in Site.live:
            for instance in site.instances:
                report.sections.append((f"log of the server on port {instance.port}", instance.log()[-12000:]))
