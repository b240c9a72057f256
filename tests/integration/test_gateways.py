# SPDX-License-Identifier: Apache-2.0
"""The configurations of docker/gateways/, each run by the real gateway, in front of an API of ours.

The files are used as they are shipped, but for addresses and paths: adapt() replaces those and insists on
finding them. Key sets are fetched over TLS, but for mod_oauth2, which trusts the system's authorities only.
"""
import base64
import concurrent.futures
import contextlib
import hashlib
import hmac
import http.server
import json
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import types
import urllib.parse

import pytest
import yaml
from conftest import (PATIENCE, ROOT, die_with_parent, free_port, http_request, new_site, raw_exchange, split_responses,
                      wait_until)
from test_rotation import kid_of, published

SHIPPED = ROOT / "docker" / "gateways"
MAX_AGE, MARGIN, TTL = 5, 1, 10
ISSUER = "https://cardea.example.org"
LOOK_ALIKES = ("data:read.all", "xdata:read", "data:reader", "data:rea", "a.data:read", "data:read:own")


class Api(http.server.BaseHTTPRequestHandler):
    """The API behind the gateways: says which headers arrived."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        seen = {name.lower(): value for name, value in self.headers.items()}
        body = json.dumps({"the api answers": "yes", "the path": self.path, **seen}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def running_api():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Gateway:
    """One of them, as a process of its own in a folder of its own; as nobody when we are root."""

    subject = "X-Subject"  # the header that tells the API who called
    insufficient = 403  # the status of a token that lacks the scope
    lasting = True      # goes on however long the key set cannot be had

    def __init__(self, folder, site, certificate, api_port):
        self.dir, self.site, self.certificate, self.api_port = folder, site, certificate, api_port
        self.port = free_port()
        self.address = ("127.0.0.1", self.port)
        self.process = None
        self.user = {}
        self.write()
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self.user = dict(user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[])
            for path in [self.dir, *self.dir.rglob("*")]:
                os.chown(path, nobody.pw_uid, nobody.pw_gid)

    def adapt(self, name, *replacements):
        """A shipped file with the addresses of this run."""
        text = (SHIPPED / name).read_text()
        for old, new in [*replacements, ("127.0.0.1:3000", f"127.0.0.1:{self.api_port}")]:
            assert old in text, f"{name} says nothing of {old}"
            text = text.replace(old, new)
        return text.replace(ISSUER, self.site.issuer)

    def start(self):
        with open(self.dir / "log", "ab") as log:
            self.process = subprocess.Popen(self.command(), cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            preexec_fn=die_with_parent, start_new_session=True, **self.user)
        wait_until(self.answers, f"{type(self).__name__} answers")
        return self

    def answers(self):
        assert self.process.poll() is None, self.log()
        try:
            return self.get().status == 401
        except OSError:
            return False

    def log(self):
        return "".join(path.read_text(errors="replace")[-8000:] for path in self.dir.glob("*log"))

    def get(self, token=None, **headers):
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return http_request(self.address, "GET", "/things?q=1", headers=headers)

    def status(self, token=None):
        return self.get(token).status

    def rotated(self):
        """What an operator does regularly; nothing, where the gateway looks for itself."""

    def stop(self):
        if self.process:
            self.process.send_signal(self.stop_signal)
            try:
                self.process.wait(PATIENCE)
            finally:
                with contextlib.suppress(ProcessLookupError):  # whatever it left of its own session
                    os.killpg(self.process.pid, signal.SIGKILL)

    stop_signal = signal.SIGTERM


class Apache(Gateway):
    insufficient = 401
    log_level = "LogLevel warn"

    def write(self):
        modules = pathlib.Path("/usr/lib/apache2/modules")
        names = ["mpm_event", "authn_core", "authz_core", "authz_user", "proxy", "proxy_http", "headers", "rewrite", self.module]
        (self.dir / "apache.conf").write_text("\n".join([
            f"ServerRoot {self.dir}", f"Listen 127.0.0.1:{self.port}", "ServerName 127.0.0.1", "PidFile pid",
            "DefaultRuntimeDir .", "Mutex file:. default", "ErrorLog error.log", self.log_level, "StartServers 1", "ThreadsPerChild 8",
            "MaxRequestWorkers 8", "MinSpareThreads 1", "MaxSpareThreads 8",
            *(f"LoadModule {name}_module {modules}/mod_{name}.so" for name in names),
            self.adapt(f"apache-mod_{self.module}.conf", *self.replacements())]))

    def command(self):
        return ["/usr/sbin/apache2", "-D", "FOREGROUND", "-f", self.dir / "apache.conf"]


class ModAuthOpenidc(Apache):
    module = "auth_openidc"
    subject = "OAUTH-sub"

    def replacements(self):
        return [("/etc/ssl/certs/ca-certificates.crt", str(self.certificate))]


class ModOauth2(Apache):
    lasting = False
    insufficient = 403
    module = "oauth2"
    subject = "OAUTH2_CLAIM_sub"
    log_level = "LogLevel oauth2:trace8"

    def replacements(self):
        return [("jwks_uri.expiry=300", f"jwks_uri.expiry={MAX_AGE}"),
                (f"jwks_uri {ISSUER}", f"jwks_uri {self.site.instances[0].url}")]


class Nginx(Gateway):
    stop_signal = signal.SIGQUIT

    def write(self):
        shutil.copy(SHIPPED / "nginx-cardea.js", self.dir)
        conf = self.adapt("nginx.conf", ("127.0.0.1:8000", f"127.0.0.1:{self.port}"),
                          ("/etc/nginx/conf.d", str(self.dir)), ("/var/lib/nginx/cardea", f"{self.dir}/cache"),
                          ("/etc/ssl/certs/ca-certificates.crt", str(self.certificate)))
        temporary = "".join(f"{what}_temp_path {self.dir}/{what};\n"
                            for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (self.dir / "nginx.conf").write_text(
            "load_module /usr/lib/nginx/modules/ngx_http_js_module.so;\n"
            f"daemon off;\nworker_processes 1;\npid {self.dir}/pid;\nerror_log {self.dir}/error.log info;\n"
            f"events {{}}\nhttp {{\naccess_log off;\n{temporary}{conf}}}\n")

    def command(self):
        return ["/usr/sbin/nginx", "-e", self.dir / "error.log", "-c", self.dir / "nginx.conf"]


class Haproxy(Gateway):
    def write(self):
        (self.dir / "haproxy.cfg").write_text(self.adapt(
            "haproxy.cfg", ("127.0.0.1:8000", f"127.0.0.1:{self.port}"),
            ("/etc/haproxy/cardea", f"{self.dir}/keys"),
            ("    user haproxy\n    group haproxy\n    chroot /var/lib/haproxy\n", "")))  # we are nobody already
        self.write_keys("true")

    def write_keys(self, *reload):
        subprocess.run(["/usr/bin/python3", SHIPPED / "haproxy-keys", f"{self.site.issuer}/.well-known/jwks.json",
                        self.dir / "keys", "--", *reload], check=True,
                       env=dict(os.environ, SSL_CERT_FILE=str(self.certificate)))

    def command(self):
        return ["/usr/sbin/haproxy", "-W", "-db", "-S", f"127.0.0.1:{free_port()}", "-f", self.dir / "haproxy.cfg"]

    def rotated(self):
        self.write_keys("kill", "-USR2", str(self.process.pid))


KINDS = dict(mod_auth_openidc=ModAuthOpenidc, mod_oauth2=ModOauth2, nginx=Nginx, haproxy=Haproxy)


def make_certificate(folder):
    """Of 127.0.0.1, signed by itself."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
                    "-keyout", folder / "tls.key", "-out", folder / "tls.pem"], check=True, capture_output=True)
    (folder / "tls.pem").chmod(0o644)
    return folder / "tls.pem"


class World:
    """One Cardea, all gateways, and tokens of every kind."""

    def __init__(self, site, gateways):
        self.site, self.gateways = site, gateways
        self.instance = site.instances[0]
        self.key = site.demo()
        self.writer = site.key(scopes=["data:write"], name="writes only")
        site.scopes(*LOOK_ALIKES)
        # The same database, hence the same signing keys: only the claims differ.
        self.other_issuer = site.start(ISSUER="https://another.example")
        self.other_audience = site.start(AUDIENCE="urn:another-api")
        self.short = site.start(TOKEN_TTL=f"{TTL}s")
        self.expiring = self.short.access_token(self.key)

    def good(self):
        return self.instance.access_token(self.key)


@pytest.fixture(scope="module")
def world(server, tmp_path_factory):
    with contextlib.ExitStack() as stack:
        port = free_port()
        site = stack.enter_context(new_site(
            server, JWKS_MAX_AGE=f"{MAX_AGE}s", JWKS_MARGIN=f"{MARGIN}s", ISSUER=f"https://127.0.0.1:{port}"))
        site.issuer = site.settings["ISSUER"]
        site.dir.chmod(0o711)
        certificate = make_certificate(site.dir)
        site.start()
        site.start(LISTEN=f"127.0.0.1:{port}", TLS_CERT_FILE=certificate, TLS_KEY_FILE=site.dir / "tls.key")
        api_port = stack.enter_context(running_api())
        gateways = {}
        for name, kind in KINDS.items():
            folder = pathlib.Path("/tmp") / f"cardea-{name}-{os.getpid()}-{free_port()}"
            folder.mkdir(mode=0o700)
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            gateways[name] = kind(folder, site, certificate, api_port)
            stack.callback(gateways[name].stop)
            gateways[name].start()
        yield World(site, gateways)


@pytest.fixture(params=KINDS)
def gateway(request, world):
    yield world.gateways[request.param]


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def forged(token, header=None, claims=None):
    """The token with other members, and the signature as it was."""
    head, body, signature = token.split(".")
    head = {**json.loads(decode(head)), **(header or {})}
    body = {**json.loads(decode(body)), **(claims or {})}
    return ".".join([encode(json.dumps(head).encode()), encode(json.dumps(body).encode()), signature])


def refused(gateway, token, status=401):
    answer = gateway.get(token)
    assert answer.status == status, (answer, gateway.log())
    assert answer.header("WWW-Authenticate").startswith("Bearer"), answer
    assert b"the api answers" not in answer.body, "the API may not see this request"
    return answer


def test_what_is_shipped_is_run_or_marked_as_not_run():
    readme = (SHIPPED / "README.md").read_text()
    for path in (SHIPPED / "reference").iterdir():
        assert "\n# NOT TESTED HERE" in path.read_text() and f"(reference/{path.name})" in readme
        assert all(isinstance(item, dict) for item in yaml.safe_load_all(path.read_text()))
    for path in SHIPPED.iterdir():
        assert path.name == "README.md" or path.is_dir() or f"({path.name})" in readme


def test_no_token(world, gateway):
    assert "invalid_token" not in (refused(gateway, None).header("WWW-Authenticate"))
    assert http_request(gateway.address, "GET", f"/things?access_token={world.good()}").status in (400, 401)
    for scheme in ("Basic eDp5", "Bearer", "Bearer ", "Bearer a.b.c", "Bearer ..", "Bearer x"):
        status = http_request(gateway.address, "GET", "/things", headers={"Authorization": scheme}).status
        assert status in (400, 401), (scheme, status, gateway.log())


def test_a_good_token(world, gateway):
    answer = gateway.get(world.good(), **{gateway.subject: "admin", gateway.subject.lower(): "admin"})
    assert answer.status == 200, (answer, gateway.log())
    said = [value for name, value in answer.json().items() if name == gateway.subject.lower()]
    assert said == [world.key["key_id"]], "a header of the caller's own does not reach the API"


def test_a_tampered_token(world, gateway):
    good = world.good()
    head, body, signature = good.split(".")
    assert gateway.status(good) == 200
    raw = bytearray(decode(signature))
    raw[7] ^= 1
    refused(gateway, forged(good, claims={"tenant": "another"}))
    refused(gateway, ".".join([head, body, encode(bytes(raw))]))
    refused(gateway, ".".join([head, body, ""]))
    refused(gateway, ".".join([head, body, encode(bytes(64))]))
    refused(gateway, forged(good, header={"kid": "unknown"}))


def test_other_algorithms(world, gateway):
    """None, and HMAC keyed with what everybody knows (RFC 8725 §2.1)."""
    good = world.good()
    kid = kid_of(good)
    refused(gateway, forged(good, header={"alg": "none"}))
    refused(gateway, forged(good, header={"alg": "none"}).rpartition(".")[0] + ".")
    jwk = next(key for key in world.instance.jwks()["keys"] if key["kid"] == kid)
    prefix = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200") + b"\4"
    der = base64.b64encode(prefix + decode(jwk["x"]) + decode(jwk["y"])).decode()
    pem = f"-----BEGIN PUBLIC KEY-----\n{der[:64]}\n{der[64:]}\n-----END PUBLIC KEY-----\n"
    for secret in (pem.encode(), decode(jwk["x"]), json.dumps(jwk).encode()):
        text = forged(good, header={"alg": "HS256"}).rpartition(".")[0]
        refused(gateway, text + "." + encode(hmac.new(secret, text.encode(), hashlib.sha256).digest()))


def test_another_issuer(world, gateway):
    refused(gateway, world.other_issuer.access_token(world.key))


def test_another_audience(world, gateway):
    refused(gateway, world.other_audience.access_token(world.key))
    manager = world.site.key(scopes=["cardea.read"], name="manager")
    refused(gateway, world.instance.access_token(manager))


def test_a_missing_scope(world, gateway):
    answer = refused(gateway, world.instance.access_token(world.writer), gateway.insufficient)
    assert "insufficient_scope" in answer.header("WWW-Authenticate")
    assert gateway.status(world.instance.access_token(world.key, scope="data:read")) == 200
    assert gateway.status(world.instance.access_token(world.key, scope="data:write")) == gateway.insufficient


def test_scopes_that_only_look_like_it(world, gateway):
    """A scope is a word (RFC 6749 §3.3): not what begins, ends or contains it."""
    for scope in LOOK_ALIKES:
        key = world.site.key(scopes=[scope], name=f"only {scope}")
        refused(gateway, world.instance.access_token(key), gateway.insufficient)
    key = world.site.key(scopes=[LOOK_ALIKES[0], "data:read", LOOK_ALIKES[1]], name="among others")
    assert gateway.status(world.instance.access_token(key)) == 200, "wherever it stands among others"


def test_two_authorization_headers(world, gateway):
    """The API might read the one that the gateway has not checked."""
    own, other = world.good(), forged(world.good(), claims={"sub": "admin"})
    for first, second in ((own, other), (other, own), (own, own)):
        answer, = split_responses(raw_exchange(gateway.address, (
            "GET /things HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n"
            f"Authorization: Bearer {first}\r\nAuthorization: Bearer {second}\r\n\r\n").encode()))
        assert answer.status in (400, 401) and b"the api answers" not in answer.body, answer


def spoken(gateway, lines, path="/things"):
    """What comes of a request with these header lines, which http.client would not send as they are."""
    text = f"GET {path} HTTP/1.1\r\nHost: gateway\r\n{lines}\r\n"
    answer, = split_responses(raw_exchange(gateway.address, text.encode()))
    return answer


def test_a_caller_cannot_say_who_it_is(world, gateway):
    """By another spelling of the header, as servers read it that take underscores for hyphens."""
    name = gateway.subject
    for spelling in {name, name.lower(), name.replace("-", "_"), name.replace("_", "-"), name.upper().replace("-", "_")}:
        answer = spoken(gateway, f"Connection: close\r\nAuthorization: Bearer {world.good()}\r\n{spelling}: admin\r\n")
        assert answer.status == 200, (spelling, answer)
        said = {value for key, value in answer.json().items() if key.replace("_", "-") == name.lower().replace("_", "-")}
        assert said == {world.key["key_id"]}, spelling


def test_a_caller_cannot_take_away_who_it_is(world, gateway):
    """A header that Connection names is not passed on (RFC 9110 §7.6.1), by this hop or by the next one."""
    for lines in (f"Connection: close, {gateway.subject}\r\n", f"Connection: {gateway.subject}\r\nConnection: close\r\n",
                  f"Connection: close\r\nConnection: {gateway.subject.upper()}, x\r\n"):
        answer = spoken(gateway, f"{lines}Authorization: Bearer {world.good()}\r\n")
        assert answer.status == 200 and answer.json()[gateway.subject.lower()] == world.key["key_id"], (lines, answer)
        assert gateway.subject.lower() not in answer.json().get("connection", "").lower()
    for protocol in "h2c", "websocket":  # a tunnel's later requests would be nobody's to check
        answer = spoken(gateway, f"Connection: close, Upgrade\r\nUpgrade: {protocol}\r\nAuthorization: Bearer {world.good()}\r\n")
        assert answer.status == 400 or (answer.status == 200 and "upgrade" not in answer.json()), answer


@pytest.mark.parametrize("path", ["/admin/x/../../things", "/admin/..%2fthings", "/admin/%2e%2e/things", "/admin/%2E./things",
                                  "/admin/..", "/./things", "//things/.././x", "/admin/..%2Fthings?q=1"])
def test_dots_in_a_path_do_not_reach_the_api(world, gateway, path):
    """Where a second location asks for another scope, the API must not get a path that leads there by another reading."""
    answer = spoken(gateway, f"Connection: close\r\nAuthorization: Bearer {world.good()}\r\n", path)
    if answer.status == 200:
        segments = urllib.parse.unquote(answer.json()["the path"].split("?")[0]).split("/")
        assert not {".", ".."} & set(segments), answer
    else:
        assert answer.status in (400, 403, 404), answer


def test_tokens_that_are_no_objects(world, gateway):
    for part in b"null", b"[]", b"1", b'"x"', b"{}", b"true":
        for token in (f"{encode(part)}.{encode(b'{}')}.x", f"{world.good().split('.')[0]}.{encode(part)}.{encode(bytes(64))}"):
            refused(gateway, token)


@pytest.mark.parametrize("body", ["<html>", "[]", "{}", '{"keys": []}', '{"keys": 7}', '{"keys": [7]}', '{"keys": [{}]}',
                                  '{"keys": [{"kid": "a\\nb 1", "kty": "EC", "crv": "P-256", "x": "", "y": ""}]}',
                                  '{"keys": [{"kid": "a", "kty": "EC", "crv": "P-256", "x": 1, "y": 2}]}',
                                  '{"keys": [{"kid": "a", "kty": "OKP", "crv": "Ed25519", "x": ""}]}'])
def test_haproxy_keys_leaves_all_as_it_is(tmp_path, body):
    """Where what it gets is no key set, or not one that HAProxy can use."""
    (tmp_path / "jwks.json").write_text(body)
    done = subprocess.run(["/usr/bin/python3", SHIPPED / "haproxy-keys", (tmp_path / "jwks.json").as_uri(), tmp_path / "keys",
                           "--", "touch", tmp_path / "reloaded"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("haproxy-keys: ") and done.stderr.count("\n") == 1, done
    assert os.listdir(tmp_path) == ["jwks.json"]


def test_an_expired_token(world):
    """Used until it ends, so that what a gateway remembers of it is tried, too."""
    used = world.short.access_token(world.key)
    end = json.loads(decode(used.split(".")[1]))["exp"]
    accepting, refused_at = dict(world.gateways), {}

    def all_refuse():
        for name, gateway in list(accepting.items()):
            if gateway.status(used) != 200:
                refused_at[name] = time.time()
                del accepting[name]
        return not accepting

    wait_until(all_refuse, "it ends everywhere", TTL + 20)
    for name, gateway in world.gateways.items():
        assert -1 <= refused_at[name] - end <= 10, f"{name}: not before its time, and not long after"
        refused(gateway, used)
        refused(gateway, world.expiring)  # never seen before it had expired


def test_nginx_without_a_key_set_says_try_again(world):
    """It has never been had: that is no verdict on the token."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="cardea-nginx-", dir="/tmp"))
    site = types.SimpleNamespace(issuer=f"https://127.0.0.1:{free_port()}")
    gateway = Nginx(folder, site, world.gateways["nginx"].certificate, world.gateways["nginx"].api_port)
    try:
        gateway.start()
        answer = gateway.get(world.good())
        assert answer.status == 503 and answer.header("Retry-After") and b"the api answers" not in answer.body, answer
        assert gateway.status() == 401
    finally:
        gateway.stop()
        shutil.rmtree(folder)


def test_before_during_and_after_a_rotation(world):
    """Tokens are asked for and shown to every gateway all the while; none is refused."""
    old_token = world.good()
    old = kid_of(old_token)
    shown, refusals = set(), []
    stopping = threading.Event()

    def operate():
        while not stopping.wait(1):
            for gateway in world.gateways.values():
                gateway.rotated()

    def show():
        while not stopping.wait(0.02):
            token = world.good()
            for name, gateway in world.gateways.items():
                if gateway.status(token) != 200:
                    refusals.append((name, kid_of(token) == old, gateway.log()[-2000:]))
            shown.add(kid_of(token))

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        running = [pool.submit(operate), pool.submit(show), pool.submit(show)]
        try:
            wait_until(lambda: shown == {old}, "the old key's tokens before the rotation")
            announced = world.site.cli_json("signing-key", "rotate")["kid"]
            wait_until(lambda: announced in published(world.instance), "it is announced")
            wait_until(lambda: announced in shown, "the new key signs, and its tokens are accepted")
            time.sleep(1)
        finally:
            stopping.set()
        for task in running:
            task.result()
    assert refusals == []
    for name, gateway in world.gateways.items():
        assert gateway.status(old_token) == 200, f"{name}: the retired key's tokens live on"


def test_gateways_need_no_cardea(world):
    """Once they have the keys. (The last test: it stops the servers.)"""
    token = world.good()
    for gateway in world.gateways.values():
        assert gateway.status(token) == 200
    for instance in world.site.instances:
        instance.stop()
    for name, gateway in world.gateways.items():
        assert not gateway.lasting or gateway.status(token) == 200, (name, gateway.log())
