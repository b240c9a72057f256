# SPDX-License-Identifier: Apache-2.0
"""The wall clock steps by an hour, or shows the year 2038. Deadlines are monotonic and do not notice; no token ends
before it begins."""
import base64
import glob
import json
import os
import socket
import time

import pytest
from conftest import PATIENCE, connection, new_site, wait_until
from pressure import SLACK, exchange, post_bytes

LIBRARY = next(iter(glob.glob("/usr/lib/*/faketime/libfaketime.so.1")), None)
pytestmark = pytest.mark.skipif(not LIBRARY, reason="needs faketime, which tests/run installs")


class Clock:
    """The wall clock of one server; its monotonic one stays true."""

    def __init__(self, file):
        self.file = file
        self.set("+0")

    def set(self, text):
        fresh = self.file.with_suffix(".new")
        fresh.write_text(text + "\n")
        fresh.rename(self.file)  # never half a line

    def program(self):
        return ["env", f"LD_PRELOAD={LIBRARY}", f"FAKETIME_TIMESTAMP_FILE={self.file}", "FAKETIME_NO_CACHE=1",
                "FAKETIME_DONT_FAKE_MONOTONIC=1",
                "ASAN_OPTIONS=verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", "")]


class World:
    def __init__(self, site, folder):
        self.site = site
        self.clock = Clock(folder / "clock")
        self.key = site.key_made
        self.instance = site.start(program=self.clock.program(), HEADER_TIMEOUT="30s", IDLE_TIMEOUT="30s")


@pytest.fixture
def world(server, tmp_path):
    with new_site(server) as site:
        site.tenant()
        site.scopes("data:read", "data:write")
        site.key_made = site.key(expires="2060-01-01T00:00:00Z")
        yield World(site, tmp_path)


def claims_of(token):
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def check_token(answer, offset=None):
    """Of a token whose server's clock is so many seconds ahead."""
    claims = claims_of(json.loads(answer)["access_token"])
    assert claims["exp"] - claims["iat"] == 600
    if offset is not None:
        assert abs(claims["iat"] - time.time() - offset) < 5 + SLACK, (claims["iat"], time.time() + offset)
    return claims


@pytest.mark.parametrize("step", [3600, -3600])
def test_a_step(world, step):
    instance = world.instance
    with socket.create_connection(instance.address, timeout=PATIENCE) as idle, \
            socket.create_connection(instance.address, timeout=PATIENCE) as half:
        status, body = exchange(idle, post_bytes(world.key))
        assert status == 200
        check_token(body, 0)
        data = post_bytes(world.key)
        half.sendall(data[:-5])
        world.clock.set(f"{step:+d}")
        begin = time.monotonic()

        def asks():
            """Right away, again and again: 503 for as long as the ring's lease is in doubt, never a bad token."""
            status, body = exchange(idle, post_bytes(world.key))
            assert status in (200, 503), body
            if status == 200:
                claims = claims_of(json.loads(body)["access_token"])
                assert claims["exp"] == claims["iat"] + 600
            return status == 200 and abs(claims["iat"] - time.time() - step) < 30 and body

        check_token(wait_until(asks, "tokens of the new time", 3 + SLACK), step)
        print(f"tokens again {time.monotonic() - begin:.2f} s after a step of {step} s")
        half.sendall(data[-5:])  # what had begun goes on
        answer = half.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        wait_until(instance.is_ready, "ready", 3 + SLACK)
        # Idle connections are kept for their time, not for the clock's.
        time.sleep(1)
        assert exchange(idle, post_bytes(world.key))[0] == 200
        world.clock.set("+0")
        check_token(wait_until(lambda: (lambda s, b: s == 200 and abs(
            claims_of(json.loads(b)["access_token"])["iat"] - time.time()) < 30 and b)(
                *exchange(idle, post_bytes(world.key))), "tokens of the old time", 3 + SLACK), 0)
    assert instance.alive()


@pytest.mark.parametrize("step", [3600, -3600])
def test_deadlines_keep_their_length(world, step):
    """After a step back, what waits for the wall clock would wait an hour; after one ahead, not at all."""
    instance = world.site.start(program=world.clock.program(), HEADER_TIMEOUT="2s", FAILED_AUTH_LIMIT="3/min")
    wrong = dict(world.key, secret="wrong")
    statuses = [instance.token(wrong).status for _ in range(4)]
    limited = time.monotonic()
    assert 401 in statuses and 429 in statuses
    with connection(world.site.database) as conn:
        conn.cursor().execute("BEGIN; LOCK TABLE api_key IN ACCESS EXCLUSIVE MODE")
        begin = time.monotonic()
        half = socket.create_connection(instance.address, timeout=PATIENCE)
        half.sendall(b"GET / HTTP/1.1\r\n")
        world.clock.set(f"{step:+d}")
        answer = instance.token(wrong)
        if time.monotonic() - limited < 15:
            assert answer.status == 429, "a step refills no bucket"
        assert half.recv(65536).startswith(b"HTTP/1.1 408 ")
        half.close()
        assert 1.5 < time.monotonic() - begin < 2 + 2 * SLACK, "the time for a header"
        begin = time.monotonic()
        other = dict(world.key, key_id="key_" + "a" * 24)
        assert instance.token(other).status == 503
        assert time.monotonic() - begin < 2 + SLACK, "the time for the database"
    world.clock.set("+0")


def test_steps_under_load(world):
    """To and fro while tokens are made: exp is always iat and the lifetime."""
    given = 0
    with socket.create_connection(world.instance.address, timeout=PATIENCE) as sock:
        for round_ in range(10):
            world.clock.set("+3600" if round_ % 2 else "-3600")
            for _ in range(30):
                status, body = exchange(sock, post_bytes(world.key))
                assert status in (200, 503)
                if status == 200:
                    given += 1
                    check_token(body)
            time.sleep(0.2)
    assert given > 30


@pytest.mark.parametrize("date", ["2038-01-19 03:13:50", "2050-06-01 00:00:00"])
def test_2038(world, date):
    """Seconds that do not fit into 31 bits: across the moment itself, and long after."""
    world.clock.set(f"@{date}")
    with socket.create_connection(world.instance.address, timeout=PATIENCE) as sock:

        def ask():
            status, body = exchange(sock, post_bytes(world.key))
            assert status in (200, 503), body
            return status == 200 and claims_of(json.loads(body)["access_token"])["iat"] > 2147480000 and body

        claims = check_token(wait_until(ask, "a token of that year", 5 + SLACK))
        assert claims["exp"] > 2147483647
        # The key's own end lies between: no token outlives it.
    late = world.site.key(name="ends", expires="2039-01-01T00:00:00Z")
    answer = world.instance.token(late)
    assert answer.status == (200 if date < "2039" else 401)
    time.sleep(0.3)
    line = world.instance.log_lines(event="request")[-1]
    assert line["time"].startswith(date[:4])
    if date < "2039":
        wait_until(world.instance.is_ready, "ready", 3 + SLACK)


def test_a_key_ends_in_the_middle_of_a_step(world):
    """Its last tokens are short, and then there are none: exp is never before iat."""
    soon = world.site.key(name="soon", expires=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1800)))
    assert world.instance.token(soon).status == 200
    world.clock.set("+1500")
    wait_until(lambda: world.instance.token(world.key).status == 200, "tokens again", 3 + SLACK)

    def short():
        answer = world.instance.token(soon)
        if answer.status != 200:
            return False
        claims = claims_of(answer.json()["access_token"])
        assert claims["iat"] < claims["exp"]
        return claims["exp"] - claims["iat"] < 400

    wait_until(short, "a short token", 3 + SLACK)
    world.clock.set("+3600")
    wait_until(lambda: world.instance.token(soon).status == 401, "none any more", 3 + SLACK)
