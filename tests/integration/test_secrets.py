# SPDX-License-Identifier: Apache-2.0
"""A canary secret is sent in every way a client may send one, and then looked for everywhere."""
import base64
import contextlib
import os
import pathlib
import pwd
import re
import resource
import signal
import socket
import subprocess
import time
import urllib.parse

import pytest
from conftest import basic, connection, new_site, wait_until
from pressure import exchange, post_bytes, tls_connect, write_certificate

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root may read the memory of a process like this")
FORM = "application/x-www-form-urlencoded"


class Canary:
    def __init__(self, what, secret):
        self.what = what
        middle = secret[8:32].encode()  # without the prefix that all secrets share
        self.forms = {middle[:16]}
        for shift in range(3):  # base64, at each of its alignments; the first and last characters depend on neighbours
            text = base64.b64encode(b"x" * shift + middle)
            self.forms.add(text[4 if shift else 0:][:24])

    def within(self, data):
        return any(form in data for form in self.forms)


def memory_of(pid):
    """What a process may have written to, region by region. Regions without a resident page are passed over, as are
    the terabytes that a sanitizer reserves for its own bookkeeping."""
    regions = re.findall(r"^([0-9a-f]+)-([0-9a-f]+) (rw\S*) \S+ \S+ \S+ *(.*?)\n(?:.*\n)*?Rss: +(\d+) kB",
                         pathlib.Path(f"/proc/{pid}/smaps").read_text(), re.M)
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for low, high, _, name, resident in regions:
            low, high = int(low, 16), int(high, 16)
            if resident == "0" or name in ("[vvar]", "[vsyscall]") or high - low > 1 << 32:
                continue
            tail = b""
            for at in range(low, high, 1 << 20):
                try:
                    data = os.pread(memory.fileno(), min(1 << 20, high - at), at)
                except OSError:
                    break
                yield f"{name or 'anonymous memory'} at {at:x}", tail + data
                tail = data[-64:]


MARK = base64.b32encode(os.urandom(20)).decode()


def fake(number, mark=MARK):
    """A secret of the right form that no key has. All begin alike, so that looking for one finds them all."""
    return f"cardea_{mark}{'x' * 10}{number:07d}"


class Sender:
    """Sends canaries over one server, and keeps every answer that may not hold one."""

    def __init__(self, instance, tls):
        self.instance, self.tls = instance, tls
        self.canaries = [Canary("one that was made up", fake(0))]
        self.fakes, self.answers = [], []

    def canary(self, what, secret=None):
        if not secret:
            self.fakes.append(what)
            return fake(len(self.fakes))
        self.canaries.append(Canary(what, secret))
        return secret

    def connect(self):
        return tls_connect(self.instance) if self.tls else socket.create_connection(self.instance.address, 30)

    def send(self, data, statuses=(400, 401)):
        with self.connect() as sock:
            status, body = exchange(sock, data)
        assert status in statuses, (status, body)
        self.answers.append(body)
        return body

    def post(self, body, headers="", statuses=(400, 401)):
        return self.send(f"POST /oauth2/token HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\n{headers}"
                         f"Content-Length: {len(body)}\r\n\r\n{body}".encode(), statuses)

    def all_ways(self, key, admin_token):
        grant = "grant_type=client_credentials"
        self.canary("the right secret by Basic", key["secret"])
        self.send(post_bytes(key), (200,))
        quoted = urllib.parse.quote(key["secret"], safe="")
        self.post(f"{grant}&client_id={key['key_id']}&client_secret={quoted}", statuses=(200,))
        secret = self.canary("a wrong secret by Basic")
        self.send(post_bytes(dict(key, secret=secret)))
        self.post(f"{grant}&client_id={key['key_id']}&client_secret={self.canary('a wrong secret in the body')}")
        self.post(f"{grant}&client_id={self.canary('a secret as ID')}&client_secret=x")
        self.post(f"{grant}&scope={self.canary('a secret as scope')}",
                  f"Authorization: {basic(key['key_id'], key['secret'])}\r\n")
        self.post(f"{grant}&{self.canary('a secret as a name')}=1&client_secret=%zz")
        self.post(grant, f"Authorization: Bearer {self.canary('a secret as a token')}\r\n")
        self.post(grant, f"Authorization: Basic {self.canary('a secret outside of base64')}:\r\n")
        self.post(f"{grant}&client_assertion={self.canary('a secret as assertion')}"
                  "&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
        # Outside of the token endpoint, and in broken messages.
        self.send(f"GET /v1/scopes HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.canary('a bearer')}\r\n\r\n"
                  .encode())
        self.send(f"POST /oauth2/token?client_secret={self.canary('a query')} HTTP/1.1\r\nHost: x\r\n"
                  "Content-Length: 0\r\n\r\n".encode())
        self.send(f"GET /?{self.canary('a query of no page')} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), (404,))
        self.post("x" * 9000 + self.canary("a long body") + "x" * 9000, statuses=(413,))
        self.send(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + self.canary("a broken head").encode() + b"\0\r\n\r\n")
        self.send(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X%d: %s\r\n" % (n, self.canary("a long head").encode())
                                                            for n in range(400)) + b"\r\n", (431,))
        with self.connect() as sock:  # left behind half-way
            sock.sendall(b"POST /oauth2/token HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nclient_secret="
                         + self.canary("half a body").encode())
            time.sleep(0.1)
        with self.connect() as sock:
            sock.sendall(b"POST /oauth2/token HTTP/1.1\r\nAuthorization: Basic "
                         + self.canary("half a head").encode())
            time.sleep(0.1)
        # What the management API shows once.
        body = ('{"name":"n","scopes":["data:read"],"expires_at":"2099-01-01T00:00:00Z"}')
        bearer = f"Authorization: Bearer {admin_token}\r\nContent-Type: application/json\r\n"
        for path in ("/v1/tenants/acme/keys", f"/v1/tenants/acme/keys/{key['key_id']}/secret"):
            text = body if path.endswith("keys") else '{"overlap":"1h"}'
            answer = self.send(f"POST {path} HTTP/1.1\r\nHost: x\r\n{bearer}Content-Length: {len(text)}\r\n\r\n{text}"
                               .encode(), (200, 201))
            self.answers.remove(answer)
            self.canary("a new secret", re.search(rb'"secret":"(\w+)"', answer)[1].decode())
        with self.connect() as sock:
            for _ in range(50):
                status, _ = exchange(sock, post_bytes(key))
                assert status == 200


    def while_the_database_hangs(self, site, key):
        """What waits for an answer that never comes has to be kept, and then forgotten."""
        with connection(site.database) as conn, conn.cursor() as cursor:
            cursor.execute("BEGIN; LOCK TABLE api_key IN ACCESS EXCLUSIVE MODE")
            for what in ("a secret that waits", "another that waits"):
                self.send(post_bytes(dict(key, secret=self.canary(what))), (503,))
        wait_until(self.instance.is_ready, "the database answers again")


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@ROOT_ONLY
def test_canary(server, tls):
    with new_site(server) as site:
        settings = {}
        if tls:
            settings = dict(zip(("TLS_CERT_FILE", "TLS_KEY_FILE"), write_certificate(site.dir)))
        key, admin = site.demo(), site.key(scopes=["cardea.admin"], name="admin")
        instance = site.start(**settings)
        sender = Sender(instance, tls)
        token = re.search(rb'"access_token":"([^"]+)', sender.send(post_bytes(admin), (200,)))[1].decode()
        sender.all_ways(key, token)
        sender.while_the_database_hangs(site, key)
        time.sleep(1)
        assert len(sender.fakes) > 15 and len(sender.canaries) == 4
        found = []
        for what, data in memory_of(instance.process.pid):
            found += [f"{canary.what}: {what}" for canary in sender.canaries if canary.within(data)]
        for file in ("environ", "cmdline", "comm", "maps", "limits", "status", "stack", "wchan"):
            with contextlib.suppress(OSError):
                data = pathlib.Path(f"/proc/{instance.process.pid}/{file}").read_bytes()
                found += [f"{canary.what}: /proc/…/{file}" for canary in sender.canaries if canary.within(data)]
        log = instance.log().encode()
        programs = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/pg_dump"), key=lambda p: int(p.parts[4]))
        dump = subprocess.run([programs[-1], site.database], capture_output=True, check=True).stdout
        activity = repr(site.sql("SELECT query FROM pg_stat_activity")).encode()
        assert b"CREATE TABLE" in dump and key["key_id"].encode() in dump
        for name, data in (("log", log), ("database", dump), ("pg_stat_activity", activity),
                           ("answers", b"".join(sender.answers))):
            found += [f"{canary.what}: {name}" for canary in sender.canaries if canary.within(data)]
        assert found == []
        assert token.encode() not in log and token.encode() not in dump


@ROOT_ONLY
def test_the_search_finds_what_is_there(server):
    """Otherwise the test above would prove nothing."""
    with new_site(server) as site:
        instance = site.start()
        assert any(site.issuer.encode() in data for _, data in memory_of(instance.process.pid))
        for shift in range(3):
            text = base64.b64encode(b"y" * shift + b"key_x:" + fake(1).encode())
            assert Canary("", fake(1)).within(text) and not Canary("", fake(1, "A" * 32)).within(text)
        with socket.create_connection(instance.address) as sock:  # half a request has to be kept somewhere
            sock.sendall(b"POST /oauth2/token HTTP/1.1\r\nContent-Length: 100\r\nAuthorization: "
                         + fake(1).encode())
            wait_until(lambda: any(Canary("", fake(1)).within(data) for _, data in memory_of(instance.process.pid)),
                       "it is seen while it is there")


def core_limits(pid):
    line = re.search(r"^Max core file size +(\S+) +(\S+)", pathlib.Path(f"/proc/{pid}/limits").read_text(), re.M)
    return line.groups()


def test_no_core(server):
    """Whatever limit it was started with."""
    with new_site(server) as site:
        resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
        instance = site.start(program=["env", "--default-signal=QUIT"])  # shells ignore it for what runs behind
        assert core_limits(instance.process.pid) == ("0", "0")
        instance.signal(signal.SIGQUIT)  # its default is a core
        ended = wait_until(lambda: os.waitid(os.P_PID, instance.process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG), "end")
        assert ended.si_code == os.CLD_KILLED, "not CLD_DUMPED"
        instance.process.wait()


@ROOT_ONLY
def test_not_dumpable(server):
    """Other processes of its user cannot read it: prctl(2), proc(5) then show root as the owner of its files."""
    user = pwd.getpwnam("nobody")
    with new_site(server) as site:
        os.chown(site.dir, user.pw_uid, user.pw_gid)
        os.chown(site.master_key, user.pw_uid, user.pw_gid)
        instance = site.start(program=["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"])
        status = pathlib.Path(f"/proc/{instance.process.pid}/status").read_text()
        assert re.search(rf"^Uid:\s+{user.pw_uid}\s", status, re.M)
        for file in ("mem", "environ", "maps"):
            assert os.stat(f"/proc/{instance.process.pid}/{file}").st_uid == 0
        reader = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "cat"]
        for file in ("mem", "environ"):
            assert subprocess.run([*reader, f"/proc/{instance.process.pid}/{file}"], check=False,
                                  capture_output=True).returncode != 0
