# SPDX-License-Identifier: Apache-2.0
"""Several instances on one database: disabled means disabled, everywhere, at once."""
import random
import threading
import time

import jwt
import pytest
from conftest import new_site, run_threads, wait_until

TOKENS = 1000
KEYS = 6


class Switch:
    """A key, and what is certain about it: `off_since` is when a disabling had returned."""

    def __init__(self, key):
        self.key = key
        self.lock = threading.Lock()
        self.off_since = None  # None: enabled, or a change is under way
        self.epoch = 0  # grows with every change


def switch_at_random(switches, change, stop):
    while not stop.is_set():
        switch = random.choice(switches)
        with switch.lock:
            enable = switch.off_since is not None
            if enable:
                switch.off_since, switch.epoch = None, switch.epoch + 1
            change(switch.key, enable)
            if not enable:
                switch.off_since, switch.epoch = time.monotonic(), switch.epoch + 1
        time.sleep(random.uniform(0, 0.02))


class Tally:
    def __init__(self):
        self.lock = threading.Lock()
        self.granted = self.refused = 0
        self.wrong = []


def ask_at_random(instances, switches, tally):
    while tally.granted < TOKENS:
        switch, instance = random.choice(switches), random.choice(instances)
        epoch, off_since = switch.epoch, switch.off_since
        status = instance.token(switch.key).status
        assert status in (200, 401), status
        with tally.lock:
            tally.granted += status == 200
            tally.refused += status == 401
            # It was off before we asked, and nobody has touched it until the answer was there.
            if status == 200 and off_since is not None and switch.epoch == epoch:
                tally.wrong.append((switch.key["key_id"], instance.port))


def run_switching(site, change):
    switches = [Switch(site.key(name=f"key {n}")) for n in range(KEYS)]
    tally, stop = Tally(), threading.Event()

    def work(index):
        if index == 0:
            switch_at_random(switches, change, stop)
            return
        try:
            ask_at_random(site.instances, switches, tally)
        finally:
            stop.set()

    run_threads(5, work)
    assert not tally.wrong
    assert tally.granted >= TOKENS and tally.refused > 0


def test_switching_with_the_command_line(server):
    with new_site(server) as site:
        site.demo()
        for _ in range(2):
            site.start()
        run_switching(site, lambda key, enable: site.cli("key", "enable" if enable else "disable", key["key_id"]))


@pytest.mark.tsan
def test_switching_with_the_api(server):
    with new_site(server) as site:
        site.demo()
        for _ in range(2):
            site.start()
        token = site.management_token()

        def change(key, enable):
            instance = random.choice(site.instances)
            path = f"/v1/tenants/acme/keys/{key['key_id']}"
            assert instance.api(token, "PATCH", path, {"enabled": enable}).status == 200

        run_switching(site, change)


def test_every_way_to_end_a_key(server):
    """Delete, expire, rotate, disable its tenant: each holds on all instances when it has returned."""
    with new_site(server) as site:
        site.demo()
        instances = [site.start() for _ in range(3)]
        site.tenant("other")
        ends = {
            "disable": lambda k: site.cli("key", "disable", k["key_id"]),
            "delete": lambda k: site.cli("key", "delete", k["key_id"]),
            "rotate": lambda k: site.cli("key", "rotate", k["key_id"]),
            "tenant": lambda k: site.cli("tenant", "disable", "other"),
        }
        for name, end in ends.items():
            key = site.key("other" if name == "tenant" else "acme", name=name)
            assert [instance.token(key).status for instance in instances] == [200] * 3
            end(key)
            assert [instance.token(key).status for instance in instances] == [401] * 3, name


@pytest.mark.tsan
def test_tokens_of_one_verify_at_the_other(server):
    with new_site(server) as site:
        key = site.demo()
        first, second = site.start(), site.start()
        assert first.jwks() == second.jwks()
        token = site.management_token(instance=first)
        assert second.api(token, "GET", "/v1/tenants/acme/keys").status == 200
        assert first.access_token(key) and second.access_token(key)


def test_rotation_reaches_all(server):
    """A new signing key is published by every instance before one of them signs with it."""
    with new_site(server, JWKS_MAX_AGE="5s", JWKS_MARGIN="1s") as site:
        key = site.demo()
        instances = [site.start() for _ in range(2)]
        (old,) = (k["kid"] for k in instances[0].jwks()["keys"])
        rotated = time.monotonic()
        new = site.cli_json("signing-key", "rotate")["kid"]
        for instance in instances:
            wait_until(lambda: {k["kid"] for k in instance.jwks()["keys"]} == {old, new}, "both are published", 5)

        def signed_by():
            return {jwt.get_unverified_header(instance.access_token(key))["kid"] for instance in instances}

        assert signed_by() == {old}
        wait_until(lambda: signed_by() == {new}, "the new key signs", 20)
        assert time.monotonic() - rotated >= 6
        assert {k["kid"] for k in instances[0].jwks()["keys"]} == {old, new}, "the old one's tokens are alive"
