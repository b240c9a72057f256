# SPDX-License-Identifier: Apache-2.0
"""What is measured: a private PostgreSQL, the server, keys in numbers; and the reading of what they use."""
import base64
import concurrent.futures
import ctypes
import http.client
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
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build/release"
CARDEA = BUILD / "cardea"
TENANT = "bench"
SCOPES = ["data:read", "data:write"]


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def wait_until(condition, what, timeout=30):
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"waited {timeout} s in vain: {what}")
        time.sleep(0.02)


def free_port():
    """Below the range from which the kernel takes ports for outgoing connections: the load makes many of those."""
    while True:
        port = random.SystemRandom().randrange(10000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


# --- what processes use ---------------------------------------------------------------------------


def children(pid):
    return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def cpu_s(pid):
    """utime + stime of all threads; in nanoseconds where the kernel counts them, in ticks elsewhere."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0]) / 1e9
        except OSError:
            fields = (task / "stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def machine_busy_s():
    fields = [int(f) for f in pathlib.Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    return (sum(fields[:8]) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def resident_kib(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1))


# --- PostgreSQL -----------------------------------------------------------------------------------


class Postgres:
    def __init__(self):
        programs = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parts[4]))
        self.bin = programs[-1].parent
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="cardea-bench-", dir="/tmp"))  # short: a socket's path
        self.user = {}
        if os.geteuid() == 0:
            postgres = pwd.getpwnam("postgres")
            self.user = dict(user=postgres.pw_uid, group=postgres.pw_gid, extra_groups=[])
            os.chown(self.dir, postgres.pw_uid, postgres.pw_gid)
        subprocess.run([self.bin / "initdb", "-D", self.dir / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8",
                        "--locale=C.UTF-8"], cwd="/", check=True, capture_output=True, **self.user)
        self.process = subprocess.Popen(
            [self.bin / "postgres", "-D", self.dir / "data", "-k", self.dir, "-c", "listen_addresses=",
             "-c", "shared_buffers=256MB", "-c", "max_wal_size=4GB"],
            cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open(self.dir / "log", "ab"),
            preexec_fn=die_with_parent, **self.user)
        wait_until(self.answers, "PostgreSQL answers")

    def answers(self):
        assert self.process.poll() is None, (self.dir / "log").read_text()
        return subprocess.run([self.bin / "pg_isready", "-q", "-h", self.dir]).returncode == 0

    def url(self, database):
        return f"host={self.dir} dbname={database} user=postgres"

    def sql(self, statement, database="postgres"):
        result = subprocess.run([self.bin / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", self.url(database)],
                                input=statement, text=True, capture_output=True, check=False)
        if result.returncode:
            raise RuntimeError(result.stderr)
        return result.stdout.strip()

    def cpu_s(self):
        return sum(map(cpu_s, [self.process.pid, *children(self.process.pid)]))

    def writes(self, database):
        """Rows written and bytes of WAL so far. Sessions report their counts at most once a second."""
        time.sleep(1.5)
        rows, wal = self.sql(
            "SELECT tup_inserted + tup_updated + tup_deleted, pg_current_wal_lsn() - '0/0'"
            f" FROM pg_stat_database WHERE datname = '{database}'").split("|")
        return int(rows), int(wal)

    def stop(self):
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(30)
        shutil.rmtree(self.dir, ignore_errors=True)


# --- a database with keys -------------------------------------------------------------------------


class Site:
    """A migrated database with a tenant, and the requests that its keys are used with."""

    def __init__(self, postgres, database, alg="ES256"):
        self.postgres, self.database, self.alg = postgres, database, alg
        self.dir = postgres.dir / database
        self.dir.mkdir()
        self.master = self.dir / "master"
        self.master.write_text(base64.b64encode(os.urandom(32)).decode() + "\n")
        self.master.chmod(0o600)
        self.requests = self.dir / "requests"
        self.n_requests = 0
        self.tls = None
        postgres.sql(f"CREATE DATABASE {database}")
        self.cli("migrate")
        self.cli("tenant", "create", TENANT, "--name", "Bench")
        for scope in SCOPES:
            self.cli("scope", "create", scope, "--title", scope)
        self.admin = json.loads(self.cli("key", "create", "--tenant", TENANT, "--name", "admin", "--scope",
                                         "cardea.admin", "--expires", "1d", "--json"))

    def environment(self, **settings):
        return {"PATH": os.environ["PATH"], "CARDEA_DATABASE_URL": self.postgres.url(self.database),
                "CARDEA_ISSUER": "http://127.0.0.1", "CARDEA_MASTER_KEY_FILE": str(self.master),
                "CARDEA_SIGNING_ALG": self.alg, **settings}

    def cli(self, *args):
        result = subprocess.run([CARDEA, *args], env=self.environment(), text=True, capture_output=True)
        if result.returncode:
            raise RuntimeError(f"cardea {' '.join(args)}: {result.stderr}")
        return result.stdout

    def tls_files(self):
        if not self.tls:
            self.tls = {"CARDEA_TLS_CERT_FILE": str(self.dir / "cert"), "CARDEA_TLS_KEY_FILE": str(self.dir / "key")}
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                            "-subj", "/CN=127.0.0.1", "-days", "2", "-out", self.dir / "cert", "-keyout",
                            self.dir / "key"], check=True, capture_output=True)
        return self.tls

    def create_keys(self, count, jwks=None):
        """Through the management API. Without waiting for the disk: this is not what is measured."""
        self.postgres.sql(f"ALTER DATABASE {self.database} SET synchronous_commit = off")
        with Server(self, workers=1) as server, concurrent.futures.ThreadPoolExecutor(4) as pool:
            keys = [key for part in pool.map(lambda n: server.create_keys(n, jwks), [-(-count // 8)] * 8) for key in part]
        self.postgres.sql(f"ALTER DATABASE {self.database} RESET synchronous_commit")
        return keys

    def add_keys(self, count):
        """More keys with a secret, each of which gets a line in self.requests."""
        with self.requests.open("a") as file:
            for key in self.create_keys(count):
                pair = base64.b64encode(f"{key['key_id']}:{key['secret']}".encode()).decode()
                file.write(f"Basic {pair}\tgrant_type=client_credentials\n")
                self.n_requests += 1

    def add_mass(self, total):
        """Fills up to `total` keys, which nobody uses, and lays all of them down in the order of their IDs, so
        that the used ones are scattered. The triggers would take minutes, and change nothing about a look-up."""
        self.postgres.sql(f"""
            SET session_replication_role = replica;
            INSERT INTO api_key (key_id, tenant_id, name, scopes, expires_at, secret_mac, secret_seal, created_by)
            SELECT 'key_' || substr(translate(md5(n::text) || md5('x' || n), '01890', 'ghijk'), 1, 24),
                   '{TENANT}', 'mass ' || n, '{{{','.join(SCOPES)}}}', now() + interval '1 day',
                   sha256(n::text::bytea), (SELECT secret_seal FROM api_key WHERE name = 'used' AND jwks IS NULL LIMIT 1), 'bench'
              FROM generate_series(1, {total} - (SELECT count(*) FROM api_key)) AS n;
            CLUSTER api_key USING api_key_pkey;""", self.database)
        self.settle()

    def settle(self):
        """As a database is that has been running for a while: each key was used within this minute (a busy one
        costs a row a minute, which has a measurement of its own), and nothing is left to clean up."""
        self.postgres.sql(f"""
            UPDATE api_key SET last_used_at = now() WHERE name = 'used';
            VACUUM (FREEZE, ANALYZE) api_key; VACUUM tenant; CHECKPOINT;""", self.database)


# --- the server -----------------------------------------------------------------------------------


class Server:
    def __init__(self, site, workers=1, tls=False, under=(), **settings):
        self.site, self.port, self.ops, self.under = site, free_port(), free_port(), under
        self.tls = tls
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.environment = site.environment(
            CARDEA_LISTEN=f"127.0.0.1:{self.port}", CARDEA_OPS_LISTEN=f"127.0.0.1:{self.ops}",
            CARDEA_WORKERS=str(workers), **(site.tls_files() if tls else {}), **settings)
        self.log = site.dir / "server.log"
        self.process = None

    def __enter__(self):
        self.process = subprocess.Popen([*self.under, CARDEA, "serve"], env=self.environment, stdin=subprocess.DEVNULL,
                                        stderr=self.log.open("wb"), preexec_fn=die_with_parent)
        self.pid = self.process.pid
        wait_until(self.ready, "the server is ready")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def ops_get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.ops, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def ready(self):
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.ops_get("/readyz")[0] == 200
        except OSError:
            return False

    def tokens(self):
        """How many it has issued, by its own count."""
        return int(float(re.search(r"^cardea_tokens_issued_total (\S+)", self.ops_get("/metrics")[1], re.M).group(1)))

    def create_keys(self, count, jwks=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        admin = base64.b64encode(f"{self.site.admin['key_id']}:{self.site.admin['secret']}".encode()).decode()
        token = self.call(connection, "/oauth2/token", "grant_type=client_credentials",
                          {"Authorization": f"Basic {admin}", "Content-Type": "application/x-www-form-urlencoded"})
        body = {"name": "used", "scopes": SCOPES, **({"jwks": jwks} if jwks else {}),
                "expires_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 86400))}
        headers = {"Authorization": "Bearer " + token["access_token"], "Content-Type": "application/json"}
        return [self.call(connection, f"/v1/tenants/{TENANT}/keys", json.dumps(body), headers) for _ in range(count)]

    @staticmethod
    def call(connection, path, body, headers):
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        if answer.status not in (200, 201):
            raise RuntimeError(f"{path}: {answer.status} {text}")
        return json.loads(text)
