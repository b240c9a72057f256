# SPDX-License-Identifier: Apache-2.0
"""What the tests of faults share: clients that go on asking while something is broken, and remember what they got."""
import collections
import datetime
import http.client
import ipaddress
import json
import os
import socket
import ssl
import threading
import time

from conftest import PATIENCE, basic
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SLACK = float(os.environ.get("CARDEA_TEST_SLACK", "1.0"))  # s; two cores, a sanitizer and other tests beside us

Seen = collections.namedtuple("Seen", "at took status answer")


class Clients:
    """Threads that ask for tokens, each on a new connection every time, until the block ends."""

    def __init__(self, instance, key, count=2, pause=0.02, **form):
        self.instance, self.key, self.pause, self.form = instance, key, pause, form
        self.seen, self.broken = [], []
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.work) for _ in range(count)]

    def ask(self):
        return self.instance.token(self.key, **self.form)

    def work(self):
        while not self.stopping.wait(self.pause):
            begin = time.monotonic()
            try:
                answer = self.ask()
            except Exception as error:  # pylint: disable=broad-except
                self.broken.append((time.monotonic(), repr(error)))
                continue
            self.seen.append(Seen(begin, time.monotonic() - begin, answer.status, answer))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def statuses(self):
        return collections.Counter(seen.status for seen in self.seen)

    def first_token_after(self, moment):
        """Seconds from the moment to the arrival of the first token that was asked for after it, or before
        and given later; None so far."""
        times = [seen.at + seen.took for seen in list(self.seen)
                 if seen.status == 200 and seen.at + seen.took > moment]
        return min(times) - moment if times else None


class Public(Clients):
    """Asks for what is served from memory."""
    paths = ("/.well-known/jwks.json", "/.well-known/oauth-authorization-server")

    def ask(self):
        began = time.monotonic()
        for path in self.paths:
            answer = self.instance.get(path)
            if answer.status != 200:
                return answer
        answer = self.instance.ops("/livez")
        assert time.monotonic() - began < PATIENCE
        return answer


def database_lines(instance, since=0):
    """Log lines other than those of single requests, from that line on."""
    lines = [json.loads(line) for line in instance.log().splitlines()[since:] if line.startswith("{")]
    return [line for line in lines if line["event"] not in ("request", "message_refused")]


def count_files(instance):
    return len(os.listdir(f"/proc/{instance.process.pid}/fd"))


# A program to start a server with whose memory is measured: AddressSanitizer otherwise keeps 256 MiB of what was freed.
LITTLE_KEPT = ["env", "ASAN_OPTIONS=quarantine_size_mb=1:thread_local_quarantine_size_kb=64:"
               + os.environ.get("ASAN_OPTIONS", "")]


def resident_kib(instance):
    with open(f"/proc/{instance.process.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def cpu_seconds(instance):
    with open(f"/proc/{instance.process.pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def post_bytes(key, path="/oauth2/token", extra=b""):
    """A token request, as bytes."""
    body = b"grant_type=client_credentials"
    return (f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {basic(key['key_id'], key['secret'])}\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n").encode() \
        + extra + b"\r\n" + body


# --- TLS ------------------------------------------------------------------------------------------


def write_certificate(folder, seconds=86400 * 90, name="one"):
    """A self-signed certificate for 127.0.0.1 that ends in so many seconds; paths of it and its key."""
    now = datetime.datetime.now(datetime.timezone.utc)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
                   .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
                   .not_valid_after(now + datetime.timedelta(seconds=seconds))
                   .add_extension(x509.SubjectAlternativeName([
                       x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
                   .sign(key, hashes.SHA256()))
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                           serialization.NoEncryption()))
    key_file.chmod(0o600)
    return str(cert_file), str(key_file)


def tls_context(**versions):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for name, value in versions.items():
        setattr(context, name, value)
    return context


def tls_connect(instance, context=None, session=None):
    sock = socket.create_connection(instance.address, timeout=PATIENCE)
    return (context or tls_context()).wrap_socket(sock, server_hostname="127.0.0.1", session=session)


def exchange(sock, data):
    """Sends a request and reads one answer: status and body."""
    sock.sendall(data)
    answer = http.client.HTTPResponse(sock)
    answer.begin()
    return answer.status, answer.read()
