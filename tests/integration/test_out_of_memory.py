# SPDX-License-Identifier: Apache-2.0
"""Every allocation of a request fails in turn, ours and the libraries'. The process answers properly, or ends by
base_mem's documented abort, with its sentence; it never crashes otherwise, and never hands out a token that a check
would have refused."""
import itertools
import os
import pathlib
import signal
import subprocess
import time

import pytest
from conftest import ROOT, basic, binary, http_request, new_site, wait_until

COMPILER = next((c for c in ("cc", "gcc", "clang") if subprocess.run(
    ["which", c], capture_output=True, check=False).returncode == 0), None)
PLAIN = ROOT / "build" / "dev" / "cardea"
MOST = int(os.environ.get("CARDEA_TEST_ALLOCATIONS", "12"))  # of each scenario, spread; 0: each of them
# base_mem's sentence, and base_secret's: without digests or random bytes there is nothing that could be answered.
ABORTED = ("cardea: out of memory", "cardea: OpenSSL's generator, SHA-256 or HMAC failed")


def plain_binary():
    """Without a sanitizer, which has an allocator of its own."""
    for path in (pathlib.Path(binary()), PLAIN, ROOT / "build" / "release" / "cardea"):
        if path.exists() and b"__asan_init" not in path.read_bytes() and b"__tsan_init" not in path.read_bytes():
            return str(path)
    return None


pytestmark = pytest.mark.skipif(not plain_binary() or not COMPILER,
                                reason="needs a binary without sanitizers: cmake --build --preset release")


class World:
    def __init__(self, site, folder):
        self.site, self.folder = site, folder
        self.library = folder / "failmalloc.so"
        subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", self.library,
                        ROOT / "tests" / "fault" / "failmalloc.c"], check=True)
        self.file = folder / "number"
        self.key = site.demo()
        self.wrong = dict(self.key, secret=self.key["secret"][:-8] + "aaaaaaaa")
        self.disabled = site.key(name="disabled", options=["--disabled"])
        self.admin = site.key(scopes=["cardea.admin"], name="admin")
        self.numbers = itertools.count()
        self.instance = None

    def start(self):
        before, os.environ["CARDEA_BINARY"] = os.environ.get("CARDEA_BINARY"), plain_binary()
        try:
            self.instance = self.site.start(program=["env", f"LD_PRELOAD={self.library}",
                                                     f"FAILMALLOC_FILE={self.file}"], WORKERS="1")
        finally:
            if before is None:
                del os.environ["CARDEA_BINARY"]
            else:
                os.environ["CARDEA_BINARY"] = before
        self.instance.access_token(self.key)
        self.token = self.instance.access_token(self.admin)
        self.scenarios()["create"]()

    def arm(self, number):
        self.file.write_text(f"{number}\n")
        self.instance.signal(signal.SIGUSR2)
        time.sleep(0.01)

    def ask(self, method, path, body, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            return http_request(self.instance.address, method, path, body, headers, timeout=10)
        except Exception as error:  # pylint: disable=broad-except
            return error

    def scenarios(self):
        form = dict(Content_Type="application/x-www-form-urlencoded")
        grant = "grant_type=client_credentials&scope=data:read"

        def token(key):
            return lambda: self.ask("POST", "/oauth2/token", grant,
                                    Authorization=basic(key["key_id"], key["secret"]), **form)

        def create():
            return self.ask("POST", "/v1/tenants/acme/keys",
                            '{"name":"n%d","scopes":["data:read"],"expires_at":"2099-01-01T00:00:00Z",'
                            '"claims":{"a":[1,2]},"audience":["https://a.example"]}' % next(self.numbers),
                            Authorization=f"Bearer {self.token}", Content_Type="application/json")

        return dict(right=token(self.key), wrong=token(self.wrong), disabled=token(self.disabled), create=create,
                    list=lambda: self.ask("GET", "/v1/tenants/acme/keys", None, Authorization=f"Bearer {self.token}"),
                    forged=lambda: self.ask("GET", "/v1/tenants/acme/keys", None,
                                            Authorization=f"Bearer {self.token[:-4]}AAAA"),
                    jwks=lambda: self.ask("GET", "/.well-known/jwks.json", None))

    def count(self, scenario):
        counts = []
        for _ in range(3):
            self.arm(0)
            scenario()
            self.arm(-1)
            counts.append(int(wait_until(lambda: self.file.with_suffix(".count").exists() and
                                         self.file.with_suffix(".count").read_text(), "a count")))
        return max(counts) + 10


@pytest.fixture
def world(server, tmp_path):
    with new_site(server) as site:
        made = World(site, tmp_path)
        made.start()
        yield made
        made.instance.kill()
        for instance in site.instances:
            instance.stop = lambda *_: None


GOOD = dict(right=200, wrong=401, disabled=401, create=201, list=200, forged=401, jwks=200)


@pytest.mark.parametrize("name", sorted(GOOD))
def test_each_allocation(world, name):
    scenario = world.scenarios()[name]
    for _ in range(5):
        assert scenario().status == GOOD[name]  # and its caches are filled
    total = world.count(scenario)
    chosen = range(1, total + 1) if not MOST or total <= MOST else sorted(
        {1 + n * (total - 1) // (MOST - 1) for n in range(MOST)})
    seen = {}
    for number in chosen:
        world.arm(number)
        answer = scenario()
        what = getattr(answer, "status", None)
        if what is None:
            time.sleep(0.1)  # it may be about to end
        if not world.instance.alive():
            assert world.instance.wait_exit() == -signal.SIGABRT, world.instance.log()[-2000:]
            assert any(text in world.instance.log() for text in ABORTED), world.instance.log()[-2000:]
            seen["aborted"] = seen.get("aborted", 0) + 1
            world.start()
            scenario = world.scenarios()[name]
            continue
        # A connection that could not be taken in is closed; otherwise the usual answer or a failure told as one.
        # A token of ours whose check could not be carried out counts as one that failed it; and jansson does not tell
        # a text that it had no memory for from one that is no JSON.
        may_be = {None, GOOD[name], 500, 503} | ({401, 400} if name in ("list", "create") else set())
        assert what in may_be, (number, answer)
        seen[what] = seen.get(what, 0) + 1
        world.arm(-1)
        wait_until(lambda: getattr(scenario(), "status", None) == GOOD[name], f"as before, after {number}", 10)
    print(f"{name}: {total} allocations, {len(chosen)} failed in turn: {seen}")
