# SPDX-License-Identifier: Apache-2.0
"""More than can be served, and more failures than are tolerated."""
import collections
import socket
import threading
import time

import pytest
from conftest import PATIENCE, basic, connection, new_site, run_threads, split_responses, wait_until
from pressure import LITTLE_KEPT, SLACK, post_bytes, resident_kib

FORM = "application/x-www-form-urlencoded"
PENDING = 8


def test_a_full_queue_refuses_at_once(server):
    """The database hangs on to what it has; over the bound, callers learn at once."""
    with new_site(server, WORKERS="1", MAX_PENDING=str(PENDING)) as site:
        key = site.demo()
        instance = site.start()
        instance.access_token(key)
        seen = []
        with connection(site.database) as conn, conn.cursor() as cursor:
            cursor.execute("BEGIN; LOCK TABLE api_key IN ACCESS EXCLUSIVE MODE")

            def ask(_):
                begin = time.monotonic()
                answer = instance.token(key)
                seen.append((answer.status, time.monotonic() - begin, answer.header("Retry-After")))

            threads = [threading.Thread(target=ask, args=(n,)) for n in range(60)]
            for thread in threads:
                thread.start()
            wait_until(lambda: len(seen) >= 60 - PENDING, "the excess is refused", 1.5 + SLACK)
            assert instance.get("/.well-known/jwks.json").status == 200
            cursor.execute("COMMIT")
            for thread in threads:
                thread.join()
        statuses = collections.Counter(status for status, _, _ in seen)
        assert set(statuses) <= {200, 503} and statuses[200] <= PENDING and statuses[503] >= 60 - PENDING
        assert all(after == "1" for status, _, after in seen if status == 503)
        assert instance.token(key).status == 200


def test_no_collapse(server):
    """Far more clients than the queue takes: somebody is always served, and memory stays bounded."""
    with new_site(server, WORKERS="1", MAX_PENDING="4") as site:
        key = site.demo()
        instance = site.start(program=LITTLE_KEPT)
        instance.access_token(key)
        before = resident_kib(instance)
        statuses = collections.Counter()
        lock = threading.Lock()

        def client(_):
            with socket.create_connection(instance.address, timeout=PATIENCE) as sock:
                for _ in range(20):
                    sock.sendall(post_bytes(key))
                    status = int(sock.recv(65536)[9:12])
                    with lock:
                        statuses[status] += 1

        run_threads(60, client)
        assert set(statuses) <= {200, 503} and statuses[200] >= 20, statuses
        grown = resident_kib(instance) - before
        print(dict(statuses), f"memory grew by {grown} KiB")
        assert grown < 16 << 10


# --- the limiter: DESIGN §4 ------------------------------------------------------------------------


class Door:
    """A server behind a trusted proxy, so that a test can come from any address."""

    def __init__(self, site, limit="20/min"):
        self.site, self.key, self.other = site, site.demo(), site.key(name="other")
        self.instance = site.start(FAILED_AUTH_LIMIT=limit, TRUSTED_PROXIES="127.0.0.0/8", WORKERS="2",
                                   LOG_LEVEL="warning", program=LITTLE_KEPT)

    def ask(self, address, key_id=None, secret="wrong"):
        key_id = key_id or self.key["key_id"]
        return self.instance.token(headers={"X-Forwarded-For": address, "Authorization": basic(key_id, secret)})

    def right(self, address, key=None):
        key = key or self.key
        return self.ask(address, key["key_id"], key["secret"]).status

    def fail(self, address, count, **more):
        """Statuses of so many failures, sent quicker than the bucket refills."""
        return [self.ask(address, **more).status for _ in range(count)]


@pytest.fixture(scope="module")
def door(server):
    with new_site(server) as site:
        yield Door(site)


def test_twenty_and_not_one_more(door):
    begin = time.monotonic()
    statuses = door.fail("192.0.2.1", 20)
    assert statuses == [401] * 20
    refilled = int((time.monotonic() - begin) / 3) + 1  # one every three seconds
    limited = next(n for n in range(refilled + 1) if door.ask("192.0.2.1").status == 429)
    assert limited <= refilled
    answer = door.ask("192.0.2.1", secret=door.key["secret"])
    if answer.status == 429:  # the right secret is no help meanwhile
        assert 1 <= int(answer.header("Retry-After")) <= 3
        assert answer.json()["error"] == "temporarily_unavailable"
    # Others behind the same address, the same key from elsewhere: untouched.
    assert door.right("192.0.2.1", door.other) == 200
    assert door.right("192.0.2.2") == 200
    assert door.right("2001:db8::1") == 200


def test_the_right_secret_is_limited_too_and_then_not(door):
    statuses = door.fail("192.0.2.10", 21)
    assert statuses.count(401) >= 20
    while door.ask("192.0.2.10").status != 429:
        pass
    answer = door.ask("192.0.2.10", secret=door.key["secret"])
    assert answer.status == 429
    time.sleep(int(answer.header("Retry-After")))
    assert door.right("192.0.2.10") == 200, "what Retry-After promised"
    assert door.right("192.0.2.10") == 200, "a success costs nothing"


def test_at_once_from_everywhere(door):
    """Eighty guesses in flight together: no more than the limit, and what refilled meanwhile, learn their fate."""
    statuses = []
    begin = time.monotonic()
    run_threads(80, lambda _: statuses.append(door.ask("192.0.2.20").status))
    assert set(statuses) == {401, 429}
    assert 20 <= statuses.count(401) <= 20 + (time.monotonic() - begin) / 3 + 1


def test_ten_times_per_address(door):
    """A stranger who tries many keys: two hundred, whatever the keys. Then the whole address waits."""
    begin = time.monotonic()
    wrong = 0
    ids = (f"key_{'a' * 20}{a}{b}{c}{d}" for a in "abcd" for b in "abcdefgh" for c in "abcdefgh" for d in "abcd")
    for number, key_id in enumerate(ids):
        if door.ask("192.0.2.30", key_id=key_id).status == 429:
            wrong = number
            break
    assert 200 <= wrong <= 200 + (time.monotonic() - begin) / 0.3 + 1
    assert [door.right("192.0.2.30", key) for key in (door.key, door.other)].count(429) >= 1
    assert door.right("192.0.2.31") == 200


def test_ipv6_counts_per_network(door):
    for n in range(20):
        assert door.ask(f"2001:db8:1:2:{n:x}::{n:x}").status == 401
    statuses = door.fail("2001:db8:1:2:ffff::1", 3)
    assert 429 in statuses, "the /64 is one client"
    assert door.right("2001:db8:1:3::1") == 200
    assert door.fail("::ffff:192.0.2.40", 20) == [401] * 20
    assert 429 in door.fail("192.0.2.40", 3), "an IPv4 address in IPv6 clothes is the same"


def test_never_per_key_alone(door):
    """Strangers everywhere fail for one key: its owner does not notice."""
    for n in range(300):
        assert door.ask(f"198.51.{n % 200}.{n // 200 + 1}").status == 401
    assert door.right("203.0.113.5") == 200


def test_other_refusals_do_not_count(door):
    for _ in range(30):
        answer = door.instance.token(headers={"X-Forwarded-For": "192.0.2.50",
                                              "Authorization": basic(door.key["key_id"], door.key["secret"])},
                                     scope="no:such")
        assert answer.status == 400
    assert door.right("192.0.2.50") == 200


def test_memory_is_bounded(door):
    """More addresses than the table has places for."""
    before = resident_kib(door.instance)
    count, at_once = 20000, 500
    done = 0
    with socket.create_connection(door.instance.address, timeout=PATIENCE) as sock:
        while done < count:
            data = b"".join(post_bytes(dict(door.key, secret="wrong"), extra=(
                f"X-Forwarded-For: 10.{(done + n) >> 16}.{(done + n) >> 8 & 255}.{(done + n) & 255}\r\n").encode())
                            for n in range(at_once))
            sender = threading.Thread(target=sock.sendall, args=(data,))
            sender.start()
            received = b""
            while received.count(b"HTTP/1.1 ") < at_once or not received.endswith(b"}"):
                received += sock.recv(1 << 20)
            sender.join()
            answers = split_responses(received)
            assert {answer.status for answer in answers} == {401} and len(answers) == at_once
            done += at_once
    grown = resident_kib(door.instance) - before
    print(f"{count} addresses: memory grew by {grown} KiB")
    assert grown < 8 << 10
    assert door.right("203.0.113.9") == 200
