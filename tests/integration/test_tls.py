# SPDX-License-Identifier: Apache-2.0
"""TLS: versions, suites, resumption, and certificates that change under a running server."""
import contextlib
import signal
import socket
import ssl
import subprocess
import time

import pytest
from conftest import PATIENCE, new_site, wait_until
from pressure import exchange, post_bytes, tls_connect, tls_context, write_certificate

GET = b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\n\r\n"


class World:
    def __init__(self, site):
        self.site = site
        self.cert, self.key_file = write_certificate(site.dir)
        self.key = site.demo()
        self.instance = site.start(TLS_CERT_FILE=self.cert, TLS_KEY_FILE=self.key_file, TLS_TIMEOUT="2s")

    def served(self):
        """The certificate that a new connection gets, in DER."""
        with tls_connect(self.instance) as sock:
            return sock.getpeercert(binary_form=True)

    def reload(self, event="reloaded"):
        before = len(self.instance.log_lines(event=event))
        self.instance.signal(signal.SIGHUP)
        wait_until(lambda: len(self.instance.log_lines(event=event)) > before, event)


@pytest.fixture(scope="module")
def world(server):
    with new_site(server) as site:
        yield World(site)


def openssl(instance, *args):
    """What `openssl s_client` says; it is given nothing to send."""
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{instance.port}", *args],
                          input=b"", capture_output=True, timeout=PATIENCE, check=False)
    return done.returncode, (done.stdout + done.stderr).decode(errors="replace")


def test_token_over_tls(world):
    with tls_connect(world.instance) as sock:
        for _ in range(3):
            status, body = exchange(sock, post_bytes(world.key))
            assert status == 200 and b"access_token" in body


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions(world, version):
    context = tls_context(minimum_version=version, maximum_version=version)
    with tls_connect(world.instance, context) as sock:
        assert exchange(sock, GET)[0] == 200
        assert sock.cipher()[0].startswith("TLS_") or "GCM" in sock.cipher()[0] or "CHACHA20" in sock.cipher()[0]


@pytest.mark.parametrize("args", [
    ["-tls1", "-cipher", "ALL:@SECLEVEL=0"], ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
    ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA:@SECLEVEL=0"],
    ["-tls1_2", "-cipher", "AES128-GCM-SHA256:AES256-SHA:@SECLEVEL=0"],
    ["-tls1_2", "-cipher", "aNULL:eNULL:@SECLEVEL=0"],
    ["-tls1_3", "-curves", "secp521r1"], ["-alpn", "h2"]],
    ids=["1.0", "1.1", "cbc", "static rsa", "anonymous", "curve", "h2 only"])
def test_refused(world, args):
    status, said = openssl(world.instance, *args)
    assert status != 0 and "alert" in said, said
    assert "-----BEGIN CERTIFICATE-----" not in said


def test_no_compression_no_renegotiation(world):
    _, said = openssl(world.instance, "-tls1_2")
    assert "Compression: NONE" in said and "Secure Renegotiation IS supported" in said
    _, said = openssl(world.instance, "-alpn", "http/1.1")
    assert "ALPN protocol: http/1.1" in said


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_resumption(world, version):
    """Whichever worker takes the second connection: tickets are sealed under one key."""
    context = tls_context(minimum_version=version, maximum_version=version)
    with tls_connect(world.instance, context) as sock:
        assert not sock.session_reused
        exchange(sock, GET)  # TLS 1.3: the ticket comes after the handshake
        session = sock.session
    resumed = 0
    for _ in range(8):
        with tls_connect(world.instance, context, session) as sock:
            assert exchange(sock, GET)[0] == 200
            resumed += sock.session_reused
    assert resumed == 8


def test_plain_text_to_a_tls_port(world):
    """A client that forgot the s: an end, no hang and no crash."""
    with socket.create_connection(world.instance.address, timeout=PATIENCE) as sock:
        sock.sendall(GET)
        with contextlib.suppress(ConnectionResetError):
            assert not sock.recv(65536).startswith(b"HTTP/")
    assert world.instance.alive()


def test_half_a_handshake_ends_in_time(world):
    """A hello that comes by the byte does not extend its deadline."""
    with socket.create_connection(world.instance.address, timeout=PATIENCE) as sock:
        begin = time.monotonic()
        with contextlib.suppress(OSError):
            for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500):
                sock.sendall(bytes([byte]))
                time.sleep(0.05)
        assert 1.5 < time.monotonic() - begin < 10


def test_reload(world):
    """New connections get the new certificate; old ones go on with theirs."""
    before = world.served()
    with tls_connect(world.instance) as old:
        assert exchange(old, GET)[0] == 200
        write_certificate(world.site.dir, name="two")
        world.reload()
        wait_until(lambda: world.served() != before, "the new certificate is served")
        after = world.served()
        assert all(world.served() == after for _ in range(10)), "by every worker"
        assert exchange(old, post_bytes(world.key))[0] == 200
    # Often, and with connections coming in all the while.
    for number in range(5):
        write_certificate(world.site.dir, name=f"n{number}")
        world.instance.signal(signal.SIGHUP)
        with tls_connect(world.instance) as sock:
            assert exchange(sock, GET)[0] == 200
    assert world.instance.alive()


@pytest.mark.parametrize("fault", ["rubbish", "empty", "missing", "another key", "encrypted", "half"])
def test_broken_certificates_keep_the_old(world, fault):
    cert, key = write_certificate(world.site.dir, name="good")
    world.reload()
    good = wait_until(lambda: world.served() == world.served() and world.served(), "it is served")
    with open(cert, "rb") as file, open(key, "rb") as key_file:
        texts = file.read(), key_file.read()
    if fault == "missing":
        (world.site.dir / "cert.pem").unlink()
    elif fault == "another key":
        write_certificate(world.site.dir, name="other")
        (world.site.dir / "cert.pem").write_bytes(texts[0])
    elif fault == "encrypted":
        subprocess.run(["openssl", "pkcs8", "-topk8", "-in", key, "-out", key + "2", "-passout", "pass:x"], check=True)
        (world.site.dir / "key.pem2").rename(key)
    else:
        (world.site.dir / "cert.pem").write_bytes(
            {"rubbish": b"rubbish\n", "empty": b"", "half": texts[0][:len(texts[0]) // 2]}[fault])
    world.reload("reload_refused")
    reason = world.instance.log_lines(event="reload_refused")[-1]["reason"]
    assert "cert.pem" in reason or "key.pem" in reason, reason
    assert all(world.served() == good for _ in range(5))
    (world.site.dir / "cert.pem").write_bytes(texts[0])
    (world.site.dir / "key.pem").write_bytes(texts[1])


def test_expiry(world):
    """A metric always; a warning when the end is near, and no refusal when it is past."""
    write_certificate(world.site.dir, 86400 * 90, name="long")
    world.reload()
    ends = world.instance.metric("cardea_tls_certificate_expiry_timestamp_seconds")
    assert abs(ends - time.time() - 86400 * 90) < 120
    warnings = len(world.instance.log_lines(event="tls_certificate"))
    write_certificate(world.site.dir, 86400 * 5, name="short")
    world.reload()
    line = wait_until(lambda: world.instance.log_lines(event="tls_certificate")[warnings:], "a warning")[0]
    assert line["level"] == "warning" and abs(line["seconds_left"] - 86400 * 5) < 120
    write_certificate(world.site.dir, -60, name="past")
    world.reload()
    line = wait_until(lambda: world.instance.log_lines(event="tls_certificate")[warnings + 1:], "another")[0]
    assert "has expired" in line["reason"]
    with tls_connect(world.instance) as sock:  # whether to go on is the client's to decide
        assert exchange(sock, GET)[0] == 200


def test_stop_over_tls(server):
    with new_site(server) as site:
        key = site.demo()
        cert, key_file = write_certificate(site.dir)
        instance = site.start(TLS_CERT_FILE=cert, TLS_KEY_FILE=key_file, DRAIN_IDLE="2s")
        with tls_connect(instance) as sock:
            assert exchange(sock, GET)[0] == 200
            instance.signal(signal.SIGTERM)
            wait_until(lambda: '"draining"' in instance.log(), "it drains")
            assert exchange(sock, post_bytes(key))[0] == 200
            assert sock.recv(1) == b""  # an orderly end
        assert instance.wait_exit() == 0
