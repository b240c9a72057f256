# SPDX-License-Identifier: Apache-2.0
"""Each allocation of a scenario fails in turn, ours and the libraries'.

A library's is survived: the answer is the usual one or says "not now" (5xx, or a closed connection), never a verdict
that would have been another; the next request is answered as ever; and no memory and no descriptor is lost. One of
our own ends the process with base_mem's sentence, by design: seen in a child made at that very place, while the server
goes on (tests/fault/failmalloc.c).

One allocation for each distinct stack of calls fails, or some of these, spread evenly, where there are many.
CARDEA_TEST_ALLOCATIONS=1 does it for each allocation there is (an hour).
"""
import collections
import itertools
import json
import mmap
import os
import pathlib
import signal
import socket
import ssl
import struct
import subprocess
import time
import urllib.parse

import jwt as pyjwt
import pytest
from conftest import ROOT, basic, binary, new_site, split_responses, wait_until
from cryptography.hazmat.primitives.asymmetric import ec, rsa

COMPILER = next((c for c in ("cc", "gcc", "clang") if subprocess.run(
    ["which", c], capture_output=True, check=False).returncode == 0), None)
EACH = bool(os.environ.get("CARDEA_TEST_ALLOCATIONS"))
# base_mem's sentence, and base_secret's: without digests or random bytes there is nothing that could be answered.
OUT_OF_MEMORY = "cardea: out of memory\n"
NO_SECRETS = "cardea: OpenSSL's generator, SHA-256 or HMAC failed\n"
CLOSED = "closed"  # instead of a status: the connection ended without an answer


def plain_binary():
    """Without a sanitizer, which has an allocator of its own; tests/run builds a release for this."""
    for path in (pathlib.Path(binary()), ROOT / "build" / "release" / "cardea", ROOT / "build" / "dev" / "cardea"):
        if path.exists() and b"__asan_init" not in path.read_bytes() and b"__tsan_init" not in path.read_bytes():
            return str(path)
    return None


BINARY = plain_binary()
pytestmark = pytest.mark.skipif(not BINARY or not COMPILER,
                                reason="needs a binary without sanitizers: cmake --build --preset release")


@pytest.fixture(scope="module", autouse=True)
def without_sanitizer():
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("CARDEA_BINARY", BINARY)
        yield


def places_of_base_mem():
    """Where its functions are: what calls malloc() from there is an allocation of our own."""
    lines = subprocess.run(["nm", "-S", BINARY], check=True, capture_output=True, text=True).stdout.split("\n")
    found = [line.split() for line in lines if " base_" in line]
    wanted = [fields for fields in found if len(fields) == 4 and fields[3].split(".")[0] in (
        "base_malloc", "base_calloc", "base_realloc", "base_strdup", "base_strndup")]
    assert len(wanted) >= 3, "the program has lost its symbols"
    return ",".join(f"{int(f[0], 16):x}-{int(f[0], 16) + int(f[1], 16):x}" for f in wanted)


class Faults:
    """The page that is shared with failmalloc.c."""

    FIELDS = ("target", "count", "failed", "child", "blocks", "n_frames", "leak")
    N_FRAMES, N_STACKS = 24, 65536
    SIZE = 8 * (len(FIELDS) + N_FRAMES + N_STACKS)

    def __init__(self, folder):
        self.library = folder / "failmalloc.so"
        subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", self.library,
                        ROOT / "tests" / "fault" / "failmalloc.c"], check=True)
        self.file = folder / "page"
        self.file.write_bytes(bytes(self.SIZE))
        with open(self.file, "r+b") as file:
            self.page = mmap.mmap(file.fileno(), self.SIZE)
        self.maps = []
        self.environment = dict(LD_PRELOAD=str(self.library), FAILMALLOC_FILE=str(self.file),
                                FAILMALLOC_OURS=places_of_base_mem())

    def program(self):
        return ["env", *(f"{name}={value}" for name, value in self.environment.items())]

    def __getattr__(self, name):
        return struct.unpack_from("<q", self.page, 8 * self.FIELDS.index(name))[0]

    def put(self, name, value):
        struct.pack_into("<q", self.page, 8 * self.FIELDS.index(name), value)

    def arm(self, number):
        self.put("target", 0)
        for name in ("count", "failed", "child", "n_frames"):
            self.put(name, 0)
        self.put("target", number)

    def survey(self, work):
        """How many allocations work() leads to, and the number of the first of each stack of calls."""
        self.arm(-1)
        work()
        self.put("target", 0)
        stacks = struct.unpack_from(f"<{self.count}Q", self.page, 8 * (len(self.FIELDS) + self.N_FRAMES))
        first = {stack: number for number, stack in reversed(list(enumerate(stacks, 1)))}
        return len(stacks), sorted(first.values())

    def disarm(self):
        """The allocation that was aimed at: 0: not reached; 1: a library's has failed; 2: one of ours, in a child."""
        self.put("target", 0)
        return self.failed

    def watch(self, pid):
        """Remembers where its files are mapped, for frames()."""
        lines = [line.split() for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines()]
        self.maps = [(int(low, 16), int(high, 16), int(fields[1], 16), fields[-1]) for *fields, low, high in (
            (*line[1:], *line[0].split("-")) for line in lines if len(line) > 5)]

    def place(self, address):
        for low, high, offset, file in self.maps:
            if low <= address < high:
                return f"{file}+{address - low + offset - 1:#x}"
        return hex(address)

    def frames(self):
        """Where it failed, for addr2line -f -e."""
        return "\n    ".join(map(self.place, struct.unpack_from(f"<{self.n_frames}q", self.page, 8 * len(self.FIELDS))))


def exchange(address, data, tls=None):
    """One request on a connection of its own; CLOSED when that ended without an answer."""
    received = b""
    try:
        with socket.create_connection(address, timeout=PATIENCE) as plain:
            sock = tls.wrap_socket(plain, server_hostname="localhost") if tls else plain
            with sock:
                sock.sendall(data)
                while piece := sock.recv(65536):
                    received += piece
    except socket.timeout:
        raise AssertionError(f"no answer and no end of it within {PATIENCE} s: {received!r}") from None
    except OSError:
        pass
    return split_responses(received)[0] if received else CLOSED


class World:
    """A server with failing allocations, what it has been given, and the clients that speak to it."""

    def __init__(self, site, folder, **settings):
        self.site, self.settings = site, settings
        self.faults = Faults(folder)
        self.instance = self.tls = None
        self.numbers = itertools.count(1)
        self.log_at = self.sentences = self.leak = 0
        self.said = {}  # what the last change asked for
        self.kept = self.doomed_key = None
        self.key = site.demo()
        self.admin = site.key(scopes=["cardea.admin"], name="admin")
        self.platform = site.key(scopes=["cardea.platform"], name="platform")
        self.pems = {}
        self.signers = {alg: self.signer(alg) for alg in ("ES256", "RS256")}
        self.pems["forger"] = ec.generate_private_key(ec.SECP256R1())

    def signer(self, alg):
        private = (ec.generate_private_key(ec.SECP256R1()) if alg == "ES256" else
                   rsa.generate_private_key(65537, 2048))
        self.pems[alg] = private
        jwk = json.loads(pyjwt.get_algorithm_by_name(alg).to_jwk(private.public_key()))
        jwks = self.site.dir / f"{alg}.json"
        jwks.write_text(json.dumps({"keys": [{k: v for k, v in jwk.items() if k != "key_ops"}]}))
        return self.site.key(name=alg, options=["--jwks", jwks])

    def run(self):
        if self.instance and self.instance.alive():
            return
        self.faults.put("target", 0)
        self.instance = self.site.start(program=self.faults.program(), WORKERS="1", HEADER_TIMEOUT="2s",
                                        DATABASE_TIMEOUT="5s", wait=False, **self.settings)
        wait_until(self.instance.is_live, "the server is live")
        wait_until(lambda: self.instance.ops("/readyz").status == 200, "the server is ready")
        self.log_at = 0
        if os.geteuid() == 0:  # it is not dumpable, so its entries in /proc are root's
            self.faults.watch(self.instance.process.pid)
        self.renew_tokens()

    def send(self, method, path, body="", address=None, **headers):
        headers = {"Host": "localhost", "Connection": "close", "Content-Length": len(body.encode()),
                   **{name.replace("_", "-"): value for name, value in headers.items()}}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        ops = address is not None
        return exchange(address or self.instance.address, ("\r\n".join(lines) + body).encode(),
                        None if ops else self.tls)

    def form(self, **fields):
        headers = {k: fields.pop(k) for k in list(fields) if k == "Authorization"}
        return self.send("POST", "/oauth2/token", urllib.parse.urlencode(
            {"grant_type": "client_credentials", **fields}), Content_Type="application/x-www-form-urlencoded",
            **headers)

    def token(self, key, **fields):
        return self.form(Authorization=basic(key["key_id"], key["secret"]), **fields)

    def assertion(self, alg, signer=None, typ="JWT"):
        key_id = self.signers[alg]["key_id"]
        claims = dict(iss=key_id, sub=key_id, aud=self.site.issuer, jti=f"j{next(self.numbers)}-a longer one than most",
                      iat=int(time.time()), exp=int(time.time()) + 60)
        return self.form(
            client_assertion_type="urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            client_assertion=pyjwt.encode(claims, self.pems[signer or alg], algorithm=alg, headers={"typ": typ}))

    def api(self, method, path, body=None, token=None, **headers):
        if body is not None:
            headers["Content_Type"] = "application/merge-patch+json" if method == "PATCH" else "application/json"
        return self.send(method, "/v1" + path, "" if body is None else json.dumps(body),
                         Authorization=f"Bearer {token or self.admin_token}", **headers)

    def change(self, method, path, body, token=None):
        self.said = body
        return self.api(method, path, body, token)

    def is_as_said(self, answer):
        assert {name: answer.json()[name] for name in self.said} == self.said

    def until(self, good, ask, what):
        """The database may just be connected again."""
        answers = []

        def given():
            answers.append(ask())
            return status_of(answers[-1]) == good
        wait_until(given, what, PATIENCE)
        return answers[-1].json()

    def new_key(self):
        return self.until(201, lambda: self.api("POST", ACME + "/keys", self.description()), "a new key")["key_id"]

    def kept_key(self):
        self.kept = self.kept or self.new_key()
        return self.kept

    def doom_a_key(self):
        self.doomed_key = self.new_key()

    def renew_tokens(self):
        """With the key that signs now."""
        self.admin_token = self.until(200, lambda: self.token(self.admin), "a token")["access_token"]
        self.platform_token = self.until(200, lambda: self.token(self.platform), "a token")["access_token"]

    def description(self):
        return {"name": f"name number {next(self.numbers)} of many", "scopes": ["data:read", "data:write"],
                "expires_at": "2099-01-01T00:00:00Z", "claims": {"a claim of its own": [1, 2.5, {"b": None}]},
                "audience": ["https://a.example/with/a/path"], "allowed_cidrs": ["127.0.0.0/8"]}

    def new_log(self):
        with open(self.instance.log_path, errors="replace") as log:
            log.seek(self.log_at)
            text = log.read()
            self.log_at = log.tell()
        self.sentences += text.count(OUT_OF_MEMORY)
        return text

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.instance.process.pid}/fd")) if os.geteuid() == 0 else 0


PATIENCE = 60  # a busy machine
TOGETHER = 16  # answers as ever are looked at together: what they have left behind, and whether the next is as ever
REPEATS = 20  # OpenSSL keeps the last 15 errors of each thread, with copies of two texts
TYPED = "client-authentication+jwt"  # such assertions are verified without libjwt
ACME = "/tenants/acme"


def status_of(answer):
    return getattr(answer, "status", answer)


def claims_of(answer):
    return pyjwt.decode(answer.json()["access_token"], options={"verify_signature": False})


# --- what is asked -------------------------------------------------------------------------------

# The right status, what the right answer holds beside, what has to be there before, and how many failures are enough.
Scenario = collections.namedtuple("Scenario", "ask good check prepare most", defaults=(None, None, 150))


def is_token(answer):
    assert claims_of(answer)["tenant"] == "acme" and answer.json()["scope"]


def is_page(answer):
    assert len(answer.json()["items"]) == 3


def names_two_fields(answer):
    assert len(answer.json()["errors"]) == 2


def has_new_secret(answer):
    assert len(answer.json()["secret"]) == 56


def create_jwks(world):
    body = {name: value for name, value in world.description().items() if name != "allowed_cidrs"}
    keys = [json.loads((world.site.dir / f"{alg}.json").read_text())["keys"][0] for alg in world.signers]
    return world.change("POST", ACME + "/keys", {**body, "jwks": {"keys": keys}})


def patch(world):
    number = next(world.numbers)
    answer = world.change("PATCH", f"{ACME}/keys/{world.kept_key()}", {
        "description": f"description number {number}", "claims": {"of the patch": number, "a claim of its own": None}})
    del world.said["claims"]["a claim of its own"]
    return answer


def reload(world):
    """SIGHUP; 503 stands for a reload that was refused."""
    world.new_log()
    text = []
    world.instance.signal(signal.SIGHUP)

    def told():
        text.append(world.new_log())
        return [status for event, status in (('"reloaded"', 200), ('"reload_refused"', 503)) if event in "".join(text)]
    return wait_until(told, "the reload's line", PATIENCE)[0]


def rotate_at_once(world):
    """An emergency rotation, and the first token with the new key."""
    answer = world.api("POST", "/signing-keys", {"emergency": True}, world.platform_token)
    if status_of(answer) != 201:
        return answer
    kid = answer.json()["kid"]

    def signs():
        token = world.token(world.key)
        assert status_of(token) in (200, 503, CLOSED), token
        return status_of(token) == 200 and pyjwt.get_unverified_header(token.json()["access_token"])["kid"] == kid
    wait_until(signs, "the new key signs", PATIENCE)
    return answer


def reconnect(world):
    """Every connection to the database ends at once."""
    world.site.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                   " WHERE datname = current_database() AND application_name LIKE 'cardea%'")

    def served():
        answers = [world.token(world.key), world.assertion("ES256", typ=TYPED),
                   world.api("GET", ACME + "/keys?limit=1")]
        assert all(status_of(answer) in (200, 503, CLOSED) for answer in answers), answers
        return all(status_of(answer) == 200 for answer in answers)
    wait_until(served, "served again", PATIENCE)
    return 200


REQUESTS = {
    "basic": lambda w: Scenario(lambda: w.token(w.key, scope="data:read"), 200, is_token),
    "form": lambda w: Scenario(lambda: w.form(client_id=w.key["key_id"], client_secret=w.key["secret"]), 200, is_token),
    "es256": lambda w: Scenario(lambda: w.assertion("ES256"), 200, is_token),
    "rs256": lambda w: Scenario(lambda: w.assertion("RS256"), 200, is_token),
    "wrong": lambda w: Scenario(lambda: w.token(dict(w.key, secret=w.key["secret"][:-8] + "aaaaaaaa")), 401),
    "unknown": lambda w: Scenario(lambda: w.token(dict(w.key, key_id=w.key["key_id"][:-4] + "2222")), 401),
    "bad_scope": lambda w: Scenario(lambda: w.token(w.key, scope="data:admin"), 400),
    "es256_forged": lambda w: Scenario(lambda: w.assertion("ES256", signer="forger"), 401),
    "es256_typed": lambda w: Scenario(lambda: w.assertion("ES256", typ=TYPED), 200, is_token),
    "es256_typed_forged": lambda w: Scenario(lambda: w.assertion("ES256", signer="forger", typ=TYPED), 401),
    "list": lambda w: Scenario(lambda: w.api("GET", ACME + "/keys?limit=3"), 200, is_page),
    "create": lambda w: Scenario(lambda: w.change("POST", ACME + "/keys", w.description()), 201, w.is_as_said),
    "create_jwks": lambda w: Scenario(lambda: create_jwks(w), 201, w.is_as_said),
    "create_wrong": lambda w: Scenario(lambda: w.api("POST", ACME + "/keys", {
        **w.description(), "expires_at": "tomorrow", "jwks": {"keys": 1}}), 422, names_two_fields),
    "patch": lambda w: Scenario(lambda: patch(w), 200, w.is_as_said, w.kept_key),
    "rotate": lambda w: Scenario(lambda: w.api("POST", f"{ACME}/keys/{w.kept_key()}/secret", {"overlap": "24h"}), 200,
                                 has_new_secret, w.kept_key),
    "delete": lambda w: Scenario(lambda: w.api("DELETE", f"{ACME}/keys/{w.doomed_key}"), 204, None, w.doom_a_key),
    "audit": lambda w: Scenario(lambda: w.api("GET", ACME + "/audit?limit=3"), 200, is_page),
    "forged": lambda w: Scenario(lambda: w.api("GET", ACME + "/keys", token=w.admin_token[:-4] + "AAAA"), 401),
    "tenant": lambda w: Scenario(lambda: w.change("POST", "/tenants", {
        "id": f"tenant-{next(w.numbers)}", "name": "A tenant with a name"}, w.platform_token), 201, w.is_as_said),
    "patch_tenant": lambda w: Scenario(lambda: w.change("PATCH", ACME, {
        "name": f"Acme with number {next(w.numbers)}"}, w.platform_token), 200, w.is_as_said),
    "scope": lambda w: Scenario(lambda: w.change("PUT", "/scopes/data:read", {
        "title": f"Title number {next(w.numbers)}", "description": "and what it is for"}, w.platform_token), 200,
        w.is_as_said),
    "jwks": lambda w: Scenario(lambda: w.send("GET", "/.well-known/jwks.json"), 200),
    "metadata": lambda w: Scenario(lambda: w.send("GET", "/.well-known/oauth-authorization-server"), 200),
    "openapi": lambda w: Scenario(lambda: w.send("GET", "/openapi.json"), 200),
    "console": lambda w: Scenario(lambda: w.send("GET", "/console/"), 200),
    "metrics": lambda w: Scenario(lambda: w.send("GET", "/metrics", address=w.instance.ops_address), 200),
}

OVER_TLS = {
    "tls": lambda w: Scenario(lambda: w.token(w.key), 200, is_token),
    "reload": lambda w: Scenario(lambda: reload(w), 200, most=60),
    "rotation": lambda w: Scenario(lambda: rotate_at_once(w), 201, None, w.renew_tokens, 40),
    "reconnect": lambda w: Scenario(lambda: reconnect(w), 200, None, w.renew_tokens, 25),
}


# --- one allocation after the other ----------------------------------------------------------------


def settled(world, at_most):
    """Blocks in use, once nothing that is under way holds more."""
    end = time.monotonic() + 0.05
    while (blocks := world.faults.blocks) > at_most and time.monotonic() < end:
        time.sleep(0.001)
    return blocks


def judge(scenario, answer, world, number):
    status = status_of(answer)
    where = f"allocation {number}: {answer}\n    {world.faults.frames()}"
    assert status in (scenario.good, 500, 503, CLOSED), where
    if status == scenario.good and scenario.check:
        try:
            scenario.check(answer)
        except (AssertionError, LookupError, ValueError) as error:
            raise AssertionError(f"{where}\n{error!r}") from error
    return status


def aborted(faults, where):
    """The child in which one of our own failed; it may have been made only after the answer."""
    wait_until(lambda: faults.child != 0, "the child has ended")
    status = faults.child
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGABRT, (where, status, faults.frames())


def one(world, scenario, number):
    """The scenario, with that allocation failing: what it came to; None when there are not so many."""
    faults = world.faults
    if scenario.prepare:
        scenario.prepare()
    faults.put("leak", world.leak)
    faults.arm(number)
    answer = scenario.ask()
    time.sleep(0.0005)  # what it does after the answer
    failed = faults.disarm()
    assert world.instance.alive(), f"{number}\n    {faults.frames()}\n{world.instance.log()[-3000:]}"
    status = judge(scenario, answer, world, number)
    if failed == 1:
        return status
    assert status == scenario.good, (number, answer, faults.frames())
    if failed == 2:
        aborted(faults, number)
        return "ours"
    return None


def again(world, scenario, number):
    """As ever. While a connection to the database is being made again, "not now" is as ever too."""
    def good():
        if scenario.prepare:
            scenario.prepare()
        return judge(scenario, scenario.ask(), world, f"after {number}") == scenario.good
    wait_until(good, f"as ever, after {number}\n    {world.faults.frames()}", PATIENCE)


def grown(world, scenario, number, base):
    """Blocks in use after one more failure of the kind, again and again; a cache is full at some time."""
    blocks = [base]
    for _ in range(REPEATS):
        one(world, scenario, number)
        again(world, scenario, number)
        blocks.append(settled(world, blocks[-1]))
        if blocks[-1] <= blocks[-2]:
            return None
    return blocks


def leak_of(world, scenario, numbers):
    base = world.faults.blocks
    for number in numbers:
        # libjwt 1.10 forgets its ECDSA_SIG when the memory for a number of it is missing. What it calls is the same
        # code as in es256_typed, where it is not in between.
        if (blocks := grown(world, scenario, number, base)) and "libjwt" not in world.faults.frames():
            return f"allocation {number} leaves more behind each time: {blocks}\n    {world.faults.frames()}"
        base = settled(world, base)
    return None


def choose(total, first_of_each_stack, most):
    """Spread evenly; each one when asked for."""
    if EACH:
        return range(1, total + 1)
    if len(first_of_each_stack) <= most:
        return first_of_each_stack
    return [first_of_each_stack[n * (len(first_of_each_stack) - 1) // (most - 1)] for n in range(most)]


def survey(world, scenario):
    def work():
        assert judge(scenario, scenario.ask(), world, "none") == scenario.good
        time.sleep(0.005)
    if scenario.prepare:
        scenario.prepare()
    return world.faults.survey(work)


def report(name, total, seen, began):
    print(f"{name}: {total} allocations, {sum(seen.values())} failed in turn: {dict(seen)}, "
          f"{time.monotonic() - began:.1f} s")


def each_allocation(world, name, scenario):
    for _ in range(6):
        again(world, scenario, 0)  # its caches are filled
    total, first_of_each_stack = survey(world, scenario)
    base, descriptors = settled(world, 0), world.descriptors()
    world.new_log()
    world.sentences = 0
    seen, since, began = collections.Counter(), [], time.monotonic()
    for number in choose(total, first_of_each_stack, scenario.most):
        what = one(world, scenario, number)
        seen[what] += 1
        since.append(number)
        if what in (scenario.good, "ours", None) and len(since) < TOGETHER:
            continue
        again(world, scenario, number)
        if settled(world, base) > base:
            assert not (leak := leak_of(world, scenario, since)), f"{name}: {leak}"
            base = settled(world, 0)
        since = []
    world.new_log()
    assert world.sentences >= seen["ours"], (world.sentences, seen)
    assert seen.total() > seen[None], seen  # how many there are varies: the server's own jobs are among them
    wait_until(lambda: world.descriptors() <= descriptors, f"{name} gives back its descriptors: {descriptors}")
    report(name, total, seen, began)


@pytest.fixture(scope="module")
def world(server, tmp_path_factory):
    with new_site(server) as site:
        made = World(site, tmp_path_factory.mktemp("faults"))
        yield made
        made.faults.disarm()


@pytest.fixture(scope="module")
def tls_world(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-days", "9", "-subj", "/CN=localhost", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
                   check=True, capture_output=True)
    with new_site(server) as site:
        made = World(site, folder, TLS_CERT_FILE=folder / "cert.pem", TLS_KEY_FILE=folder / "key.pem")
        made.tls = ssl.create_default_context(cafile=folder / "cert.pem")
        yield made
        made.faults.disarm()


@pytest.mark.parametrize("name", REQUESTS)
def test_request(world, name):
    world.run()
    each_allocation(world, name, REQUESTS[name](world))


@pytest.mark.parametrize("name", OVER_TLS)
def test_over_tls(tls_world, name):
    tls_world.run()
    each_allocation(tls_world, name, OVER_TLS[name](tls_world))


def test_a_leak_is_found(world):
    """What is freed first after a failure is lost, on purpose (failmalloc.c): the tests above have to see that."""
    world.run()
    world.leak = 1
    try:
        with pytest.raises(AssertionError, match="leaves more behind each time"):
            each_allocation(world, "basic", REQUESTS["basic"](world))
    finally:
        world.leak = 0


# --- from the start of the program: commands, and a server's own start ----------------------------


def each_from_the_start(name, faults, run):
    """run(number) gives the status with which the program ended, None when all was as it should be, and its words."""
    total, first_of_each_stack = faults.survey(lambda: run(-1))
    seen, began = collections.Counter(), time.monotonic()
    for number in choose(total, first_of_each_stack, 25):
        faults.arm(0)
        status, said = run(number)
        failed = faults.disarm()
        where = f"{name}, allocation {number}: {status}\n    {faults.frames()}\n{said[-3000:]}"
        seen["ours" if failed == 2 else status] += 1
        if failed == 2:
            aborted(faults, where)
        # A sentence, whatever it is: with 1 or 2, or the abort of those who can say no more than that.
        if status is not None:
            assert status in (1, 2) and said.strip() or status == -signal.SIGABRT and NO_SECRETS in said, where
    report(name, total, seen, began)


COMMANDS = {
    "config": ["config", "--json"],
    "tenant list": ["tenant", "list", "--json"],
    "key create": ["key", "create", "--tenant", "acme", "--name", "x", "--scope", "data:read", "--expires", "9d",
                   "--json"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_command(world, tmp_path, name):
    faults = Faults(tmp_path)

    def run(number):
        done = subprocess.run([*faults.program(), f"FAILMALLOC_START={number}", BINARY, *COMMANDS[name]],
                              env=world.site.environment(), capture_output=True, text=True, timeout=PATIENCE)
        faults.put("target", 0)
        if done.returncode == 0:
            assert len(json.loads(done.stdout)) == n_wanted, (number, done.stdout, faults.frames())
        return done.returncode or None, done.stderr

    n_wanted = len(json.loads(world.site.cli(*COMMANDS[name]).out))
    each_from_the_start(name, faults, run)


def test_start(world, tmp_path):
    faults = Faults(tmp_path)

    def run(number):
        instance = world.site.start(wait=False, program=[*faults.program(), f"FAILMALLOC_START={number}"], WORKERS="1")
        world.site.instances.remove(instance)

        def over():
            if not instance.alive():
                return True
            try:
                return instance.ops("/readyz").status == 200
            except OSError:
                return False
        wait_until(over, f"ready or ended, allocation {number}", PATIENCE)
        faults.put("target", 0)
        if instance.alive():
            assert instance.token(world.key).status == 200
        status = instance.process.poll()
        instance.kill()
        return status, instance.log()

    each_from_the_start("start", faults, run)
