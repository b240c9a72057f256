# SPDX-License-Identifier: Apache-2.0
"""Signing keys rotate as one fleet: whatever caches obey max-age, no gateway meets an unknown kid."""
import base64
import bisect
import json
import os
import shutil
import signal
import threading
import time

import pytest
from conftest import PATIENCE, new_site, run_threads, wait_until

MAX_AGE, MARGIN = 5, 1
FAST = dict(JWKS_MAX_AGE=f"{MAX_AGE}s", JWKS_MARGIN=f"{MARGIN}s")
ROUNDS = int(os.environ.get("CARDEA_TEST_ROUNDS", "2"))  # 200 in the long run that the README names


def kid_of(token):
    head = token.split(".")[0]
    return json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))["kid"]


def published(instance):
    return {key["kid"] for key in instance.jwks()["keys"]}


def keys_of(site):
    return site.cli_json("signing-key", "list")["items"]


def in_state(site, state):
    return [key["kid"] for key in keys_of(site) if key["state"] == state]


class Watcher:
    """Gets tokens from every instance and key sets beside them, and remembers when it saw what."""

    def __init__(self, instances, key):
        self.instances, self.key = instances, key
        self.sets = []    # (when it was asked for, until when a cache may keep it, kids)
        self.tokens = []  # (when it had arrived, kid)
        self.refused = []
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.fetch_sets), *(
            threading.Thread(target=self.fetch_tokens, args=(instance,)) for instance in instances)]

    def fetch_sets(self):
        while not self.stopping.wait(0.05):
            for instance in self.instances:
                asked = time.monotonic()
                answer = instance.get("/.well-known/jwks.json")
                max_age = int(answer.header("Cache-Control").rpartition("max-age=")[2])
                assert max_age <= MAX_AGE
                self.sets.append((asked, asked + max_age, {key["kid"] for key in answer.json()["keys"]}))

    def fetch_tokens(self, instance):
        while not self.stopping.wait(0.03):
            answer = instance.token(self.key)
            if answer.status == 200:
                self.tokens.append((time.monotonic(), kid_of(answer.json()["access_token"])))
            else:
                self.refused.append(answer)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def unknown(self):
        """Tokens that some cache, filled at most max-age before, could not verify."""
        asked = [when for when, _, _ in self.sets]
        return [(at, kid) for at, kid in self.tokens
                for _, until, kids in self.sets[bisect.bisect_left(asked, at - MAX_AGE):bisect.bisect_right(asked, at)]
                if at <= until and kid not in kids]

    def kids(self):
        return {kid for _, kid in self.tokens}


@pytest.fixture
def fleet(server):
    with new_site(server, **FAST) as site:
        site.start()
        site.start()
        yield site


def test_a_rotation_is_announced_then_signs_then_retires(fleet):
    key = fleet.demo()
    first, second = fleet.instances
    old = kid_of(first.access_token(key))

    announced = fleet.cli_json("signing-key", "rotate")
    assert announced["state"] == "announced" and announced["kid"] != old
    for instance in fleet.instances:
        wait_until(lambda i=instance: announced["kid"] in published(i), "every instance publishes it", 2)
    assert kid_of(first.access_token(key)) == old, "it may not sign before every cache has had it"

    for instance in fleet.instances:
        wait_until(lambda i=instance: kid_of(i.access_token(key)) == announced["kid"], "it signs")
    waited = fleet.sql("SELECT extract(epoch FROM activated_at - created_at) FROM signing_key WHERE kid = %s",
                       announced["kid"])[0][0]
    assert waited >= MAX_AGE + MARGIN
    assert published(second) == {old, announced["kid"]}, "the old key's tokens are still alive"
    assert in_state(fleet, "signing") == [announced["kid"]]
    retired = next(item for item in keys_of(fleet) if item["kid"] == old)
    assert retired["state"] == "retired" and retired["publish_until"] > retired["retired_at"]


def test_a_second_rotation_meanwhile_changes_nothing(fleet):
    first = fleet.cli_json("signing-key", "rotate")
    again = fleet.cli_json("signing-key", "rotate")
    assert again["kid"] == first["kid"] and in_state(fleet, "announced") == [first["kid"]]


def test_retired_keys_go_when_their_tokens_have_expired(server):
    with new_site(server, TOKEN_TTL="10s", **FAST) as site:
        instance = site.start()
        key = site.demo()
        old = kid_of(instance.access_token(key))
        site.cli("signing-key", "rotate")
        wait_until(lambda: kid_of(instance.access_token(key)) != old, "the new key signs")
        # As if the wait were over: its length is the pure function's, tested in test_policy_ring.
        site.sql("UPDATE signing_key SET publish_until = now() WHERE kid = %s", old)
        wait_until(lambda: old not in published(instance), "the old key is gone", 5)


@pytest.mark.parametrize("rotation", ["10s"])
def test_automatic_rotation(server, rotation):
    with new_site(server, SIGNING_KEY_ROTATION=rotation, **FAST) as site:
        instances = [site.start(), site.start(), site.start()]
        key = site.demo()
        with Watcher(instances, key) as watcher:
            wait_until(lambda: len(watcher.kids()) >= 3, "two rotations by themselves", 60)
        assert watcher.unknown() == [] and watcher.refused == []
        created = [row for row in site.sql("SELECT action FROM audit WHERE action LIKE 'signing_key.%%'")]
        assert [row[0] for row in created].count("signing_key.first") == 1


def test_rotations_fired_at_all_instances_at_once(server):
    with new_site(server, SIGNING_KEY_ROTATION="30d", **FAST) as site:
        instances = [site.start() for _ in range(3)]
        key = site.demo()
        token = site.management_token(scope="cardea.platform")
        with Watcher(instances, key) as watcher:
            for _ in range(ROUNDS):
                signing = in_state(site, "signing")
                answers = [None] * len(instances)

                def fire(index):
                    answers[index] = instances[index].api(token, "POST", "/v1/signing-keys", {})

                run_threads(len(instances), fire)
                assert sorted(answer.status for answer in answers) == [200, 200, 201], answers
                assert len({answer.json()["kid"] for answer in answers}) == 1, "one rotation, whoever was first"
                assert len(signing) == 1 and len(in_state(site, "signing")) == 1
                wait_until(lambda: in_state(site, "signing") == [answers[0].json()["kid"]], "it signs")
                token = site.management_token(scope="cardea.platform")
        assert watcher.unknown() == [] and watcher.refused == []
        assert len(watcher.kids()) == ROUNDS + 1


def test_emergency_leaves_nothing_of_the_old_keys(fleet):
    key = fleet.demo()
    token = fleet.management_token(scope="cardea.platform")
    first, second = fleet.instances
    fleet.cli("signing-key", "rotate")  # an announced key is withdrawn too
    old = published(first)

    answer = first.api(token, "POST", "/v1/signing-keys", {"emergency": True})
    assert answer.status == 201 and answer.json()["state"] == "signing"
    assert "max-age" in answer.json()["warning"]
    for instance in fleet.instances:
        for _ in range(10):  # on a connection of its own each, hence by every worker
            assert published(instance) == {answer.json()["kid"]}, "answered means withdrawn"
            assert kid_of(instance.access_token(key)) == answer.json()["kid"], "it signs at once"
            assert instance.api(token, "GET", "/v1/signing-keys").status == 401
    assert not old & published(second)
    assert second.api(token, "GET", "/v1/signing-keys").status == 401, "the caller's own token is withdrawn as well"
    assert "max-age" in fleet.cli("signing-key", "rotate", "--emergency").out


def test_an_instance_that_cannot_follow_uses_no_key(site):
    """Its connection for the ring hangs while it answers the emergency: then it has no key, rather than a withdrawn one."""
    key = site.demo()
    instance = site.start()
    token = site.management_token(scope="cardea.platform")
    old = kid_of(instance.access_token(key))
    [(hung,)] = site.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'cardea jobs'"
                        " AND datname = current_database()")
    os.kill(hung, signal.SIGSTOP)
    try:
        answer = instance.api(token, "POST", "/v1/signing-keys", {"emergency": True})
        assert answer.status == 201 and answer.json()["kid"] != old
        for _ in range(20):
            given = instance.token(key)
            assert given.status == 503 or kid_of(given.json()["access_token"]) != old
            assert instance.api(token, "GET", "/v1/signing-keys").status in (401, 503)
    finally:
        os.kill(hung, signal.SIGCONT)
    wait_until(lambda: all(instance.token(key).status == 200 for _ in range(10)), "every worker follows")
    assert kid_of(instance.access_token(key)) == answer.json()["kid"]


def test_stopped_while_an_emergency_waits(site):
    """The drain's time is over before the wait is: what is done is done, and nothing of it leaks."""
    key = site.demo()
    token = site.management_token(scope="cardea.platform", instance=site.start())
    site.instances[0].stop()
    instance = site.start(DRAIN_TIMEOUT="100ms", DRAIN_IDLE="100ms")
    answers = []
    asking = threading.Thread(target=lambda: answers.append(instance.api(token, "POST", "/v1/signing-keys", {"emergency": True})))
    asking.start()
    count = "SELECT count(*) FROM audit WHERE action = 'signing_key.emergency'"
    wait_until(lambda: site.sql(count) == [(1,)], "it is committed")
    instance.signal(signal.SIGTERM)
    assert instance.wait_exit() == 0
    asking.join()
    assert [answer.status for answer in answers] in ([201], [503])
    assert published(site.start()) == {in_state(site, "signing")[0]} and site.instances[-1].token(key).status == 200


def test_many_emergencies_at_once(site):
    """They wait beside each other, and hold nobody up."""
    key = site.demo()
    instance = site.start(WORKERS="1")
    token = site.management_token(scope="cardea.platform")
    reader = site.management_token(scope="cardea.read")
    statuses = []

    def fire(number):
        if number % 2:
            statuses.append(instance.api(token, "POST", "/v1/signing-keys", {"emergency": True}).status)
        else:
            instance.api(reader, "GET", "/v1/tenants/acme/keys")

    run_threads(24, fire)
    # The token's own key may be withdrawn before it is read (401, or 503 until the ring is), or its key after it (409).
    assert set(statuses) <= {201, 401, 409, 503} and 201 in statuses, statuses
    [(made,)] = site.sql("SELECT count(*) FROM audit WHERE action = 'signing_key.emergency'")
    assert statuses.count(201) + statuses.count(409) == made, "what was done is not answered with a failure"
    wait_until(lambda: instance.token(key).status == 200, "it goes on")  # with its one worker
    assert published(instance) == {kid_of(instance.access_token(key))}


def test_another_algorithm_is_a_rotation(fleet):
    key = fleet.demo()
    first, second = fleet.instances
    old = kid_of(first.access_token(key))
    first.stop()
    second.stop()
    fresh = fleet.start(SIGNING_ALG="RS256")
    assert kid_of(fresh.access_token(key)) == old
    wait_until(lambda: {k["alg"] for k in fresh.jwks()["keys"]} == {"ES256", "RS256"}, "both are published")
    wait_until(lambda: kid_of(fresh.access_token(key)) != old, "the new algorithm signs")
    assert old in published(fresh)


def test_an_instance_that_lost_the_notice_follows_by_its_poll(fleet):
    """NOTIFY says nothing new to who cannot hear it."""
    key = fleet.demo()
    fleet.sql("DROP TRIGGER IF EXISTS ring_notify ON signing_key")
    announced = fleet.cli_json("signing-key", "rotate")["kid"]
    for instance in fleet.instances:
        wait_until(lambda i=instance: announced in published(i), "the poll finds it", 3)
    assert kid_of(fleet.instances[0].access_token(key)) != announced


def test_an_instance_cut_off_from_the_database_keeps_its_key_set(server, postgres):
    with new_site(postgres.tcp_url(), **FAST) as site:
        instance = site.start()
        before = published(instance)
        postgres.stop()
        wait_until(lambda: not instance.is_ready(), "it is not ready", 5)
        assert published(instance) == before
        postgres.start()
        instance.wait_ready()


@pytest.mark.skipif(not shutil.which("faketime"), reason="needs faketime, which tests/run installs")
def test_a_stopped_instance_signs_with_nothing_retired(fleet, tmp_path):
    """Stopped in the middle of a rotation, resumed when its wall clock says an hour later."""
    key = fleet.demo()
    clock = tmp_path / "clock"
    clock.write_text("+0\n")
    library = next(line for line in os.popen("ls /usr/lib/*/faketime/libfaketime.so.1").read().split())
    stopped = fleet.start(program=["env", f"LD_PRELOAD={library}", f"FAKETIME_TIMESTAMP_FILE={clock}",
                                   "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1",
                                   "ASAN_OPTIONS=verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", "")])
    old = kid_of(stopped.access_token(key))
    stopped.signal(signal.SIGSTOP)
    emergency = fleet.cli_json("signing-key", "rotate", "--emergency")["kid"]
    kids, statuses = [], []

    def ask(_):
        answer = stopped.token(key, timeout=PATIENCE)
        statuses.append(answer.status)
        if answer.status == 200:
            kids.append(kid_of(answer.json()["access_token"]))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(10)]
    for thread in threads:
        thread.start()
    clock.write_text("+3600\n")
    stopped.signal(signal.SIGCONT)
    for thread in threads:
        thread.join()
    assert old not in kids and set(statuses) <= {200, 503}
    wait_until(lambda: stopped.token(key).status == 200, "it follows")
    assert kid_of(stopped.access_token(key)) == emergency


def test_metrics_show_states_and_ages(fleet):
    instance = fleet.instances[0]
    assert instance.metric("cardea_signing_keys", state="signing") == 1
    assert instance.metric("cardea_signing_keys", state="announced") == 0
    fleet.cli("signing-key", "rotate")
    wait_until(lambda: instance.metric("cardea_signing_keys", state="announced") == 1, "it is counted", 3)
    assert instance.metric("cardea_signing_key_rotation_overdue") == 0
    assert 0 <= instance.metric("cardea_signing_key_age_seconds") < 60


def test_an_overdue_rotation_warns(fleet):
    instance = fleet.instances[0]
    fleet.sql("UPDATE signing_key SET created_at = created_at - interval '60 days',"
              " signs_from = signs_from - interval '60 days', activated_at = activated_at - interval '60 days'")
    wait_until(lambda: instance.metric("cardea_signing_key_age_seconds") > 86400, "the age is seen", 5)
    wait_until(lambda: instance.metric("cardea_signing_key_rotation_overdue") == 1
               or instance.metric("cardea_signing_keys", state="announced") == 1, "it warns, and mends it", 5)
    wait_until(lambda: len(in_state(fleet, "announced")) + len(in_state(fleet, "retired")) >= 1, "it rotates", 5)


# --- master keys ---


def master_keys(site):
    return site.cli_json("config")["master_keys"]


def test_a_master_key_can_be_replaced_and_dropped(server):
    with new_site(server) as site:
        first_key = base64.b64decode(site.master_key.read_text())
        second_key = os.urandom(32)
        instance = site.start()
        key = site.demo()
        idle = site.key(name="never used")
        assert [(k["state"], k["secrets"], k["signing_keys"]) for k in master_keys(site)] == [("seals and opens", 2, 1)]

        site.write_master_key(second_key, first_key)
        instance.signal(signal.SIGHUP)
        wait_until(lambda: instance.log_lines(event="reloaded"), "the reload")
        assert [k["signing_keys"] for k in master_keys(site)] == [0, 1]
        assert "1" in site.cli("signing-key", "reseal").out
        assert [k["signing_keys"] for k in master_keys(site)] == [1, 0]

        # HMACs move as secrets are used …
        def moved():
            assert instance.token(key).status == 200
            return [k["secrets"] for k in master_keys(site)] == [1, 1]
        wait_until(moved, "the used secret's MAC moves")
        assert instance.token(idle).status == 200, "the old master key still opens"
        wait_until(lambda: [k["state"] for k in master_keys(site)] == ["seals and opens", "may be dropped"],
                   "nothing needs the old one")

        # … and then the old one can go.
        site.write_master_key(second_key)
        instance.stop()
        instance = site.start()
        assert instance.token(key).status == 200 and instance.token(idle).status == 200


def test_rotating_a_secret_moves_it_too(server):
    with new_site(server) as site:
        first_key = base64.b64decode(site.master_key.read_text())
        site.start()
        key = site.demo()
        site.write_master_key(os.urandom(32), first_key)
        site.cli("key", "rotate", key["key_id"])
        assert [k["secrets"] for k in master_keys(site)] == [1, 0]


def test_a_master_key_still_needed_cannot_be_dropped(server):
    with new_site(server) as site:
        instance = site.start()
        site.demo()
        old = master_keys(site)[0]["fingerprint"]
        instance.stop()
        site.write_master_key(os.urandom(32))
        refused = site.start(wait=False)
        assert refused.wait_exit() == 1
        assert f"CARDEA_MASTER_KEY_FILE lacks a master key that is still needed: {old} (signing keys and secrets)" \
            in refused.log()
        assert "MISSING" in site.cli("config").out


def test_reseal_without_the_old_key_says_what_to_do(server):
    with new_site(server) as site:
        site.start()
        site.write_master_key(os.urandom(32))
        done = site.cli("signing-key", "reseal", check=False)
        assert done.status == 1 and "add that key again" in done.err
