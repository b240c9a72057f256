# SPDX-License-Identifier: Apache-2.0
"""Hostile clients: slow, many, endless, or gone. Each gets its end in time, and healthy clients do not notice."""
import contextlib
import resource
import selectors
import socket
import struct
import threading
import time

import pytest
from conftest import PATIENCE, Response, connection, new_site, split_responses, wait_until
from pressure import (LITTLE_KEPT, SLACK, Clients, count_files, cpu_seconds, exchange, post_bytes, resident_kib,
                      tls_connect, write_certificate)

LIMIT = 2.0  # s: the timeouts that the server is given
MANY = 10000
GET = b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\n\r\n"


class World:
    def __init__(self, site):
        self.site, self.key = site, site.demo()
        self.instance = site.start(HEADER_TIMEOUT="2s", BODY_TIMEOUT="2s", IDLE_TIMEOUT="2m", program=LITTLE_KEPT)


@pytest.fixture(scope="module")
def world(server):
    with new_site(server) as site:
        yield World(site)


@pytest.fixture
def healthy(world):
    """Clients that must not notice what happens in the test."""
    with Clients(world.instance, world.key) as clients:
        wait_until(lambda: len(clients.seen) > 5, "healthy clients")
        begin = time.monotonic()
        yield clients
        wait_until(lambda: len(clients.seen) > 20, "healthy clients go on")
    assert clients.broken == [] and set(clients.statuses()) == {200}
    slowest = max(seen.took for seen in clients.seen)
    assert slowest < 2 * SLACK, f"a healthy client waited {slowest:.2f} s of {time.monotonic() - begin:.1f} s"
    usual = sorted(seen.took for seen in clients.seen)[len(clients.seen) * 3 // 4]
    assert usual < SLACK / 4, f"three in four waited less than {usual:.2f} s"
    wait_until(lambda: world.instance.metric("cardea_http_connections") < 20, "nobody is left")


def connect(instance):
    return socket.create_connection(instance.address, timeout=PATIENCE)


def trickle(instance, count, first, then):
    """Opens connections, sends `first`, and then a byte of `then` at a time until the server ends each. Returns when
    each ended, counted from its beginning, and what it was told."""
    selector = selectors.DefaultSelector()
    ends, told = [], {}
    for _ in range(count):
        sock = connect(instance)
        sock.sendall(first)
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ, time.monotonic())
        told[sock] = b""
    at = 0
    limit = time.monotonic() + PATIENCE
    while selector.get_map():
        assert time.monotonic() < limit, f"{len(selector.get_map())} were never ended"
        for key, _ in selector.select(0.05):
            try:
                data = key.fileobj.recv(65536)
            except OSError:
                data = b""
            told[key.fileobj] += data
            if not data:
                ends.append(time.monotonic() - key.data)
                selector.unregister(key.fileobj)
                key.fileobj.close()
        for key in list(selector.get_map().values()) if then else ():
            with contextlib.suppress(OSError):
                key.fileobj.send(then[at % len(then):][:1])
        at += 1
    return ends, list(told.values())


def check_ends(ends):
    assert min(ends) > LIMIT - 0.3 and max(ends) < LIMIT + 1.5 + SLACK, (min(ends), max(ends))


def test_slow_headers(world, healthy):
    ends, told = trickle(world.instance, 100, b"POST /oauth2/token HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"a")
    check_ends(ends)
    assert all(split_responses(data)[0].status == 408 for data in told)


def test_slow_bodies(world, healthy):
    ends, told = trickle(world.instance, 100, b"POST /oauth2/token HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n",
                         b"a")
    check_ends(ends)
    assert all(split_responses(data)[0].status == 408 for data in told)


def test_chunks_by_the_byte(world, healthy):
    ends, _ = trickle(world.instance, 50, b"POST /oauth2/token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
                      b"1\r\na\r\n")
    check_ends(ends)


def test_nothing_is_ever_sent(world, healthy):
    ends, told = trickle(world.instance, 100, b"", b"")
    check_ends(ends)
    assert set(told) == {b""}


def test_endless_chunks(world, healthy):
    """Data without end, extensions without end, trailers without end: each has its limit."""
    head = b"POST /oauth2/token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    for piece in (b"400\r\n" + b"a" * 1024 + b"\r\n", b"1;" + b"x" * 200 + b"\r\na\r\n"):
        with connect(world.instance) as sock:
            sock.sendall(head)
            received = b""
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for _ in range(200):
                    sock.sendall(piece)
            sock.settimeout(PATIENCE)
            with contextlib.suppress(ConnectionResetError):
                received = sock.recv(65536)
            assert received.startswith(b"HTTP/1.1 413 "), received[:100]
    with connect(world.instance) as sock:
        sock.sendall(head + b"0\r\n" + b"X: " + b"y" * 5000 + b"\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_a_client_that_does_not_read(world, healthy):
    """Its answers fill the socket, then nothing more is read of it, then it is ended; memory stays where it was."""
    before = resident_kib(world.instance)
    socks = []
    for _ in range(20):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(world.instance.address)
        sock.setblocking(False)
        socks.append(sock)
    sent = [0] * len(socks)
    ended = set()
    data = GET * 1000

    def push():
        for n, sock in enumerate(socks):
            try:
                sent[n] += sock.send(data[sent[n] % len(GET):])
            except BlockingIOError:
                continue
            except OSError:
                ended.add(n)
        return len(ended) == len(socks)

    wait_until(push, "all are ended")
    assert max(sent) < 64 << 20
    grown = resident_kib(world.instance) - before
    print(f"{sum(sent) >> 10} KiB sent, memory grew by {grown} KiB")
    assert grown < 16 << 10
    for sock in socks:
        sock.close()


def test_ten_thousand_pipelined_requests(world, healthy):
    before = resident_kib(world.instance)
    count, received = MANY, []
    with connect(world.instance) as sock:
        sender = threading.Thread(target=lambda: sock.sendall(GET * (count - 1) + GET.replace(
            b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")))
        sender.start()
        while piece := sock.recv(1 << 20):
            received.append(piece)
        sender.join()
    data = b"".join(received)
    assert data.count(b"HTTP/1.1 200 OK\r\n") == count
    grown = resident_kib(world.instance) - before
    print(f"memory grew by {grown} KiB")
    assert grown < 16 << 10


def test_pipelined_tokens_are_answered_in_order(world, healthy):
    """Each goes to the database: one at a time, whatever comes in."""
    with connect(world.instance) as sock:
        data = b"".join(post_bytes(world.key, extra=b"X-Request-Id: r%d\r\n" % n) for n in range(500))
        sender = threading.Thread(target=sock.sendall, args=(data,))
        sender.start()
        received = b""
        while received.count(b"HTTP/1.1 200 OK\r\n") < 500 or not received.endswith(b"}"):
            received += sock.recv(1 << 20)
        sender.join()
    assert [answer.header("X-Request-Id") for answer in split_responses(received)] == [f"r{n}" for n in range(500)]


@pytest.mark.tsan
def test_resets_while_the_database_works(world):
    """The clients are gone when their answers come."""
    instance = world.instance
    files = count_files(instance)
    with connection(world.site.database) as conn, conn.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE api_key IN ACCESS EXCLUSIVE MODE")
        for round_ in range(100):
            sock = connect(instance)
            if round_ % 2:  # a reset; otherwise an end of stream
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.sendall(post_bytes(world.key) * (1 + round_ % 3))
            sock.close()
        cursor.execute("COMMIT")
    wait_until(lambda: instance.token(world.key).status == 200, "the next one gets its token", 5)
    wait_until(lambda: instance.metric("cardea_http_connections") == 0, "nobody is left")
    wait_until(lambda: count_files(instance) <= files + 2, "no descriptor is left open")


class TlsClients(Clients):
    def ask(self):
        with tls_connect(self.instance) as sock:
            return Response(exchange(sock, post_bytes(self.key))[0], [], b"")


def test_tls_hellos_by_the_byte(server):
    with new_site(server) as site:
        cert, key_file = write_certificate(site.dir)
        key = site.demo()
        instance = site.start(TLS_CERT_FILE=cert, TLS_KEY_FILE=key_file, TLS_TIMEOUT="2s")
        with TlsClients(instance, key) as healthy:
            ends, _ = trickle(instance, 50, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\0")
        check_ends(ends)
        assert healthy.broken == [] and set(healthy.statuses()) == {200}
        assert max(seen.took for seen in healthy.seen) < 2 * SLACK


def raise_limit(wanted):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, wanted))
            hard = wanted
    soft = wanted if hard == resource.RLIM_INFINITY or hard >= wanted else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


def test_ten_thousand_idle_connections(server):
    count = min(MANY, raise_limit(MANY + 2000) - 1500)
    with new_site(server) as site:
        key = site.demo()
        instance = site.start(HEADER_TIMEOUT="2m", IDLE_TIMEOUT="2m", MAX_CONNECTIONS=str(count + 10))
        instance.access_token(key)
        before = resident_kib(instance)
        socks = []
        try:
            for number in range(count):
                socks.append(connect(instance))
                if number % 500 == 0:
                    instance.jwks()  # the backlog is emptied before it overflows
            wait_until(lambda: instance.metric("cardea_http_connections") >= count, "all are accepted")
            grown = resident_kib(instance) - before
            print(f"{count} idle connections: {grown / count:.2f} KiB each")
            with Clients(instance, key) as healthy:
                wait_until(lambda: len(healthy.seen) > 30, "healthy clients")
            assert set(healthy.statuses()) == {200} and max(seen.took for seen in healthy.seen) < SLACK
            used = cpu_seconds(instance)
            time.sleep(1)
            assert cpu_seconds(instance) - used < 0.3, "idle connections cost no time"
            # The cap: the newest are closed, those who are there stay.
            more = [connect(instance) for _ in range(30)]
            wait_until(lambda: sum(is_closed(sock) for sock in more) >= 15, "over the cap")
            wait_until(lambda: instance.log_lines(event="connections"), "it says so")
            for sock in more:
                sock.close()
            socks[0].sendall(GET)
            assert socks[0].recv(65536).startswith(b"HTTP/1.1 200 ")
        finally:
            for sock in socks:
                sock.close()
        wait_until(lambda: instance.metric("cardea_http_connections") < 20, "they are gone")
        assert instance.token(key).status == 200


def is_closed(sock):
    sock.setblocking(False)
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_descriptors_exhausted(server):
    """More connections than descriptors: the listener pauses, no loop spins, those inside are served, and it goes
    on when there are some again."""
    with new_site(server) as site:
        key = site.demo()
        instance = site.start()
        inside = connect(instance)
        inside.sendall(post_bytes(key))
        assert inside.recv(65536).startswith(b"HTTP/1.1 200 ")
        limits = resource.prlimit(instance.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(instance.process.pid, resource.RLIMIT_NOFILE, (count_files(instance) + 10, limits[1]))
        outside = [connect(instance) for _ in range(100)]
        wait_until(lambda: any("descriptors" in line["reason"] for line in instance.log_lines(event="connections")),
                   "it notices")
        used, begin, lines = cpu_seconds(instance), time.monotonic(), len(instance.log().splitlines())
        while time.monotonic() - begin < 2:
            inside.sendall(post_bytes(key))
            assert inside.recv(65536).startswith(b"HTTP/1.1 200 ")
            time.sleep(0.05)
        assert cpu_seconds(instance) - used < 1.0, "no loop spins"
        said = [line for line in instance.log().splitlines()[lines:] if '"event":"connections"' in line]
        assert len(said) <= 2 * (time.monotonic() - begin + 1), "a line a second and worker"
        for sock in outside:
            sock.close()
        resource.prlimit(instance.process.pid, resource.RLIMIT_NOFILE, limits)
        wait_until(lambda: instance.is_ready() and instance.token(key).status == 200, "it goes on")
        inside.close()


def test_a_low_limit_at_the_start(server):
    """Descriptors for PostgreSQL are reserved first: many clients cannot keep the server from its database."""
    with new_site(server) as site:
        key = site.demo()
        instance = site.start(program=["prlimit", "--nofile=300:300"])
        assert any("ulimit" in line["reason"] for line in instance.log_lines(event="max_connections"))
        socks = [connect(instance) for _ in range(400)]
        wait_until(lambda: sum(is_closed(sock) for sock in socks) >= 200, "the newest are closed")
        site.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                 " AND application_name LIKE 'cardea%'")
        wait_until(instance.is_ready, "it has its database again")
        alive = next(sock for sock in socks if not is_closed(sock))
        alive.setblocking(True)
        alive.sendall(post_bytes(key))
        assert alive.recv(65536).startswith(b"HTTP/1.1 200 ")
        for sock in socks:
            sock.close()


@pytest.mark.parametrize("size", [b"4001", b"ffffffff", b"ffffffffffffffff"])
def test_a_chunk_that_announces_too_much(world, size):
    """Is refused for its size line, as a Content-Length is: its data need not be waited for."""
    with connect(world.instance) as sock:
        sock.settimeout(LIMIT / 2)
        sock.sendall(b"POST /oauth2/token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + size + b"\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 413 ")
