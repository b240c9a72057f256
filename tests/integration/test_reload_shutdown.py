# SPDX-License-Identifier: Apache-2.0
"""Stopping and reloading under load: no request is lost."""
import contextlib
import http.client
import os
import signal
import socket
import threading
import time

import pytest
from conftest import PATIENCE, basic, connection, new_site, wait_until
from pressure import post_bytes

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class KeepAlive:
    """A client that keeps its connection, opens another when the server has said `close`, and takes a refused
    connection as what it is: the server has gone. Anything else that fails is a request lost."""

    def __init__(self, address, key, pause=0.0):
        self.address, self.pause = address, pause
        self.headers = dict(FORM, Authorization=basic(key["key_id"], key["secret"]))
        self.conn, self.gone = None, False
        self.done, self.closes, self.lost = 0, 0, []

    def connect(self):
        self.conn = http.client.HTTPConnection(*self.address, timeout=PATIENCE)
        try:
            self.conn.connect()
        except ConnectionRefusedError:
            self.gone = True

    def once(self):
        if not self.conn:
            self.connect()
            if self.gone:
                return
        try:
            self.conn.request("POST", "/oauth2/token", "grant_type=client_credentials", self.headers)
            answer = self.conn.getresponse()
            body = answer.read()
            if answer.status != 200:
                self.lost.append((answer.status, body))
            self.done += 1
            closing = answer.getheader("Connection") == "close"
        except (OSError, http.client.HTTPException) as error:
            self.lost.append(repr(error))
            closing = True
        if closing:
            self.closes += 1
            self.conn.close()
            self.conn = None

    def run(self, stopping):
        while not self.gone:
            self.once()
            if stopping.wait(self.pause):
                return


@contextlib.contextmanager
def load(clients):
    stopping = threading.Event()
    threads = [threading.Thread(target=client.run, args=(stopping,)) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopping.set()
        for thread in threads:
            thread.join()


def total(clients):
    return sum(client.done for client in clients)


def test_sigterm_under_load(server):
    """Busy clients, and ones that pause longer than a round trip: the idle connections that the sketch reset."""
    for _ in range(3):
        with new_site(server, DRAIN_IDLE="2s") as site:
            key = site.demo()
            instance = site.start()
            clients = [KeepAlive(instance.address, key, pause) for pause in (0, 0, 0.005, 0.05, 0.2, 0.5)]
            with load(clients):
                wait_until(lambda: total(clients) > 200, "load")
                instance.signal(signal.SIGTERM)
                assert instance.wait_exit() == 0
                wait_until(lambda: all(client.gone for client in clients), "every client has learnt")
            assert [client.lost for client in clients if client.lost] == []
            assert total(clients) > 200 and all(client.closes for client in clients)


@pytest.mark.tsan
def test_a_request_that_waits_for_the_database_is_answered(postgres):
    with new_site(postgres.tcp_url()) as site:
        key = site.demo()
        instance = site.start()
        instance.access_token(key)
        postgres.pause()
        with socket.create_connection(instance.address, timeout=PATIENCE) as sock:
            sock.sendall(post_bytes(key))
            time.sleep(0.2)  # it is with the database
            instance.signal(signal.SIGTERM)
            wait_until(lambda: '"draining"' in instance.log(), "it drains")
            assert instance.ops("/readyz").status == 503
            assert instance.ops("/livez").status == 200
            postgres.resume()
            assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert instance.wait_exit() == 0


def test_half_of_a_request_may_be_finished(server):
    with new_site(server) as site:
        key = site.demo()
        instance = site.start()
        data = post_bytes(key)
        with socket.create_connection(instance.address, timeout=PATIENCE) as sock:
            sock.sendall(data[:-10])
            # Another request on this listener tells that the bytes before it have been read.
            assert instance.token(key).status == 200
            instance.signal(signal.SIGTERM)
            wait_until(lambda: '"draining"' in instance.log(), "it drains")
            time.sleep(0.3)
            sock.sendall(data[-10:])
            answer = sock.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200 ") and b"Connection: close" in answer
        assert instance.wait_exit() == 0


def test_a_second_signal_ends_it_at_once(server):
    with new_site(server, DRAIN_IDLE="30s", DRAIN_TIMEOUT="60s") as site:
        instance = site.start()
        with socket.create_connection(instance.address) as sock:
            sock.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            sock.recv(65536)
            instance.signal(signal.SIGTERM)
            wait_until(lambda: '"draining"' in instance.log(), "it drains")
            begin = time.monotonic()
            instance.signal(signal.SIGINT)
            assert instance.wait_exit() == 128 + signal.SIGINT
            assert time.monotonic() - begin < 2


def test_the_drain_has_an_end(server):
    """A client that never finishes its request does not hold the process."""
    with new_site(server, DRAIN_IDLE="100ms", DRAIN_TIMEOUT="1s") as site:
        instance = site.start()
        with socket.create_connection(instance.address) as sock:
            sock.sendall(b"POST /oauth2/token HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
            instance.jwks()
            begin = time.monotonic()
            instance.signal(signal.SIGTERM)
            assert instance.wait_exit() == 0
            assert 0.9 < time.monotonic() - begin < 5
        assert '"drain_timeout"' in instance.log()


def test_idle_clients_do_not_delay_it(server):
    with new_site(server, DRAIN_IDLE="300ms", DRAIN_TIMEOUT="30s") as site:
        instance = site.start()
        socks = [socket.create_connection(instance.address) for _ in range(50)]
        instance.jwks()
        begin = time.monotonic()
        instance.signal(signal.SIGTERM)
        assert instance.wait_exit() == 0
        assert time.monotonic() - begin < 5
        for sock in socks:
            assert sock.recv(1) == b""  # an end of stream, no reset
            sock.close()


# --- a rolling restart behind a proxy --------------------------------------------------------------


class Proxy:
    """What load balancers do: it asks /readyz, sends each request over a kept connection to a member that is
    ready, and gives that connection up when told to close. A refused connection makes it turn to another member,
    since nothing had been sent; a request that was sent is never sent again."""

    def __init__(self):
        self.members = []
        self.lock = threading.Lock()
        self.turn = 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = self.listener.getsockname()
        self.stopping = threading.Event()
        threading.Thread(target=self.accept, daemon=True).start()
        threading.Thread(target=self.check, daemon=True).start()

    def check(self):
        while not self.stopping.wait(0.03):
            for member in list(self.members):
                try:
                    member["ready"] = member["instance"].ops("/readyz").status == 200
                except (OSError, http.client.HTTPException):
                    member["ready"] = False

    def add(self, instance):
        member = dict(instance=instance, ready=True, idle=[])
        self.members.append(member)
        return member

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def choose(self):
        with self.lock:
            ready = [member for member in self.members if member["ready"]]
            self.turn += 1
            member = ready[self.turn % len(ready)]
            return member, member["idle"].pop() if member["idle"] else None

    def serve(self, client):
        with client, contextlib.suppress(OSError):
            data = b""
            while piece := client.recv(65536):
                data += piece
                head, found, body = data.partition(b"\r\n\r\n")
                if not found or len(body) < int(head.lower().split(b"content-length:")[1].split()[0]):
                    continue
                client.sendall(self.forward(data))
                data = b""

    def connect(self):
        while True:
            member, conn = self.choose()
            try:
                return member, conn or socket.create_connection(member["instance"].address, timeout=PATIENCE)
            except ConnectionRefusedError:
                member["ready"] = False

    def forward(self, data):
        member, conn = self.connect()
        try:
            conn.sendall(data)
            answer = http.client.HTTPResponse(conn, method="POST")
            answer.begin()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            return b"HTTP/1.1 502 Lost\r\nContent-Length: %d\r\n\r\n%s" % (len(repr(error)), repr(error).encode())
        if answer.getheader("Connection") == "close":
            conn.close()
        else:
            with self.lock:
                member["idle"].append(conn)
        return b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n" % (answer.status, len(body)) + body

    def close(self):
        self.stopping.set()
        self.listener.close()
        for member in self.members:
            for conn in member["idle"]:
                conn.close()


def test_rolling_restart_behind_a_proxy(server):
    with new_site(server, DRAIN_IDLE="2s") as site:
        key = site.demo()
        proxy = Proxy()
        try:
            members = [proxy.add(site.start()), proxy.add(site.start())]
            clients = [KeepAlive(proxy.address, key, pause) for pause in (0, 0, 0, 0.01, 0.1)]
            with load(clients):
                for round_ in range(2):
                    before = total(clients)
                    wait_until(lambda b=before: total(clients) > b + 100, "load")
                    old = members[round_]
                    new = proxy.add(site.start())
                    members.append(new)
                    old["instance"].signal(signal.SIGTERM)
                    assert old["instance"].wait_exit() == 0
                before = total(clients)
                wait_until(lambda: total(clients) > before + 100, "load on the new ones alone")
            assert [client.lost for client in clients if client.lost] == []
        finally:
            proxy.close()


# --- SIGHUP ----------------------------------------------------------------------------------------


@pytest.mark.tsan
def test_a_hundred_reloads_under_load(server):
    with new_site(server) as site:
        key = site.demo()
        instance = site.start()
        clients = [KeepAlive(instance.address, key) for _ in range(3)]
        with load(clients):
            for _ in range(100):
                instance.signal(signal.SIGHUP)
                time.sleep(0.02)
            wait_until(lambda: len(instance.log_lines(event="reloaded")) >= 1, "reloads")
            before = total(clients)
            wait_until(lambda: total(clients) > before + 50, "it still serves")
        assert [client.lost for client in clients if client.lost] == [] and total(clients) > 100
        # Signals that come while one is being handled are one: but most of them arrived apart.
        assert len(instance.log_lines(event="reloaded")) >= 20
        assert instance.log_lines(event="reload_refused") == []


def test_a_reload_with_broken_settings_changes_nothing(server):
    with new_site(server) as site:
        key = site.demo()
        instance = site.start()
        good = site.master_key.read_text()
        site.master_key.write_text("rubbish\n")
        instance.signal(signal.SIGHUP)
        wait_until(lambda: instance.log_lines(event="reload_refused"), "it says so")
        assert str(site.master_key) in instance.log_lines(event="reload_refused")[0]["reason"]
        assert instance.token(key).status == 200
        site.master_key.write_text(good)
        instance.signal(signal.SIGHUP)
        wait_until(lambda: instance.log_lines(event="reloaded"), "reloaded")
        assert instance.token(key).status == 200


def test_a_reload_takes_master_keys_over(server):
    """A new first key seals from now on, and what the old one sealed still opens."""
    with new_site(server) as site:
        key = site.demo()
        instance = site.start()
        old = site.master_key.read_text()
        site.write_master_key(os.urandom(32))
        site.master_key.write_text(site.master_key.read_text() + old)
        instance.signal(signal.SIGHUP)
        wait_until(lambda: instance.log_lines(event="reloaded"), "reloaded")
        assert instance.token(key).status == 200
        made = site.key(name="under the new one")
        assert instance.token(made).status == 200
        before, after = [line["fingerprints"].split() for line in instance.log_lines(event="master_keys")]
        assert [key["fingerprint"] for key in site.cli_json("config")["master_keys"]] == after and after[1:] == before


def test_a_signing_key_that_cannot_be_opened_is_counted_as_none(server):
    """Sealed under a master key that this instance has not been told of: the alert goes by this, and /readyz soon."""
    with new_site(server) as site:
        key = site.demo()
        instance = site.start()
        assert instance.metric("cardea_signing_keys", state="signing") == 1
        old = site.master_key.read_text()
        site.write_master_key(os.urandom(32))
        site.master_key.write_text(site.master_key.read_text() + old)
        site.cli("signing-key", "reseal")
        wait_until(lambda: instance.metric("cardea_signing_keys", state="signing") == 0, "it is seen")
        wait_until(lambda: instance.log_lines(event="master_key"), "a person is told")
        instance.signal(signal.SIGHUP)
        wait_until(lambda: instance.metric("cardea_signing_keys", state="signing") == 1, "and that it is mended")
        assert instance.token(key).status == 200


def test_a_reload_that_would_lose_a_needed_master_key_is_refused(server):
    with new_site(server) as site:
        key = site.demo()
        instance = site.start()
        old = site.master_key.read_text()
        site.write_master_key(os.urandom(32))
        new = site.master_key.read_text()
        instance.signal(signal.SIGHUP)
        wait_until(lambda: instance.log_lines(event="reload_refused"), "it says so")
        assert "(signing keys and secrets)" in instance.log_lines(event="reload_refused")[0]["reason"]
        assert instance.log_lines(event="reloaded") == []
        assert instance.token(key).status == 200 and instance.is_ready()
        # What somebody else has sealed under a key that this server does not have yet is no wrong secret.
        site.master_key.write_text(new + old)
        made = site.key(name="under the new one")
        answer = instance.token(made)
        assert answer.status == 503 and answer.header("Retry-After")
        wait_until(lambda: instance.log_lines(reason="master_key_not_loaded"), "the log says why")
        instance.signal(signal.SIGHUP)
        wait_until(lambda: instance.log_lines(event="reloaded"), "reloaded")
        wait_until(lambda: instance.token(made).status == 200, "every worker has it")


def test_secrets_that_move_leave_management_alone(server):
    """After a change of the first master key every token would write its key's row: they take turns, and none waits."""
    with new_site(server, WORKERS="1", DATABASE_TIMEOUT="20s") as site:
        keys = [site.demo(), site.key(name="second"), site.key(name="third")]
        instance = site.start()
        old = site.master_key.read_text()
        site.write_master_key(os.urandom(32))
        site.master_key.write_text(site.master_key.read_text() + old)
        instance.signal(signal.SIGHUP)
        wait_until(lambda: instance.log_lines(event="reloaded"), "reloaded")
        admin = site.management_token()

        before = dict(site.sql("SELECT key_id, secret_seal::text FROM api_key WHERE seq > 0"))

        def moved():
            now = dict(site.sql("SELECT key_id, secret_seal::text FROM api_key WHERE seq > 0"))
            return [key["key_id"] for key in keys if now[key["key_id"]] != before[key["key_id"]]]

        with connection(site.database) as conn, conn.cursor() as cursor:
            cursor.execute("BEGIN; SELECT 1 FROM api_key WHERE key_id = %s FOR UPDATE", (keys[0]["key_id"],))
            for key in keys:
                assert instance.token(key).status == 200
            wait_until(lambda: instance.metric("cardea_database_pending") == 1, "only the first waits to be moved")
            cursor.execute("ROLLBACK")
        # On the same connection, so behind all that waited there.
        assert instance.api(admin, "GET", "/v1/tenants/acme/keys").status == 200
        assert moved() == [keys[0]["key_id"]]
        for key in keys[1:]:
            assert instance.token(key).status == 200
            wait_until(lambda: key["key_id"] in moved(), "it moves when there is time")
        wait_until(lambda: instance.metric("cardea_database_pending") == 0, "nothing waits")
