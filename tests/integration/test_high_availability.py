# SPDX-License-Identifier: Apache-2.0
"""Two instances, a PostgreSQL primary and a synchronous standby, as docker/high-availability.md describes: the primary
dies under load, the standby is promoted, and no acknowledged key is lost."""
import collections
import threading
import time

import psycopg2.extensions
import pytest
from conftest import PATIENCE, Standby, execute, new_site, wait_until

LIMIT = 15  # seconds from promotion until every instance serves again; a slow machine is allowed more than it needs


@pytest.fixture
def pair(postgres):
    standby = Standby(postgres)
    # Only now, so that the standby has no such line: promoted, it would wait for a standby of its own.
    for statement in ("ALTER SYSTEM SET synchronous_standby_names = 'standby'", "SELECT pg_reload_conf()"):
        execute(postgres.tcp_url(), statement)
    wait_until(lambda: execute(postgres.tcp_url(), "SELECT sync_state FROM pg_stat_replication") == [("sync",)],
               "the standby is synchronous")
    yield postgres, standby
    standby.close()


class Load:
    """Asks every instance for tokens and for new keys, and remembers what was acknowledged when."""

    def __init__(self, site, key, admin):
        self.site, self.key, self.admin = site, key, admin
        self.created, self.tokens = [], collections.defaultdict(list)
        self.statuses = collections.Counter()
        self.problems = []
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.repeat, args=(work, instance))
                        for instance in site.instances for work in (self.create, self.ask)]

    def repeat(self, work, instance):
        while not self.stopping.wait(0.01):
            try:
                work(instance)
            except Exception as error:  # pylint: disable=broad-except
                self.problems.append(repr(error))

    def create(self, instance):
        answer = instance.api(self.admin, "POST", "/v1/tenants/acme/keys",
                              {"name": "under load", "scopes": ["data:read"], "expires_at": "2099-01-01T00:00:00Z"})
        self.statuses["create", answer.status] += 1
        if answer.status == 201:
            self.created.append((time.monotonic(), answer.json()))

    def ask(self, instance):
        answer = instance.token(self.key)
        self.statuses["token", answer.status] += 1
        if answer.status == 200:
            self.tokens[instance].append(time.monotonic())
        else:
            assert answer.header("Retry-After"), answer

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join()


def test_promotion_under_load_loses_no_acknowledged_key(pair):
    primary, standby = pair
    with new_site(primary.tcp_url()) as site:
        name = psycopg2.extensions.parse_dsn(site.database)["dbname"]
        site.settings["DATABASE_URL"] = (
            f"host=127.0.0.1,127.0.0.1 port={primary.port},{standby.port} dbname={name} user=postgres")
        site.start()
        site.start()
        key = site.demo()
        admin = site.management_token()
        with Load(site, key, admin) as load:
            wait_until(lambda: len(load.created) >= 50 and len(load.tokens) == 2, "load")
            primary.stop()
            died = time.monotonic()
            wait_until(lambda: load.statuses["token", 503] and load.statuses["create", 503], "refusals, with 503")
            jwks = [instance.jwks() for instance in site.instances]
            assert jwks[0] == jwks[1] and jwks[0]["keys"], "gateways go on meanwhile"
            standby.promote()
            promoted = time.monotonic()
            wait_until(lambda: all(times[-1] > promoted for times in load.tokens.values())
                       and load.created[-1][0] > promoted, "all is well again")
            # Each worker has connections of its own; /readyz says yes when all are back.
            wait_until(lambda: all(instance.is_ready() for instance in site.instances), "all instances are ready", LIMIT)
        assert load.problems == []
        assert {status for _, status in load.statuses} <= {200, 201, 503}, load.statuses
        for times in load.tokens.values():
            back = min(at for at in times if at > died)
            assert back - promoted < LIMIT, "no more than the seconds until promotion"
        site.server = standby.tcp_url()
        site.database = standby.tcp_url(name)
        stored = {row[0] for row in site.sql("SELECT key_id FROM api_key")}
        lost = [created["key_id"] for _, created in load.created if created["key_id"] not in stored]
        assert lost == [], f"{len(lost)} of {len(load.created)} acknowledged keys"
        for _, created in load.created[::25]:
            assert site.instances[1].token(created).status == 200


def test_a_standby_is_never_written_to(pair):
    """Named first in the list, a standby is passed over; alone, it is as good as no database."""
    primary, standby = pair
    with new_site(primary.tcp_url()) as site:
        name = psycopg2.extensions.parse_dsn(site.database)["dbname"]
        url = "host={} port={} dbname={} user=postgres"
        wait_until(lambda: execute(standby.tcp_url(), "SELECT 1 FROM pg_database WHERE datname = %s", name), "a copy")
        instance = site.start(DATABASE_URL=url.format("127.0.0.1,127.0.0.1", f"{standby.port},{primary.port}", name))
        key = site.demo()
        assert instance.token(key).status == 200
        alone = site.start(wait=False, DATABASE_URL=url.format("127.0.0.1", standby.port, name)).wait_live()
        assert not alone.is_ready() and alone.token(key, timeout=PATIENCE).status == 503
