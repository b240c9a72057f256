# SPDX-License-Identifier: Apache-2.0
"""What people watch Cardea with: metrics, their table, alert rules, the dashboard."""
import json
import re
import subprocess

import pytest
import yaml
from conftest import ROOT, new_site

PROMETHEUS = ROOT / "docker" / "prometheus"
DASHBOARD = ROOT / "docker" / "grafana" / "cardea.json"


@pytest.fixture(scope="module")
def page(server):
    with new_site(server) as site:
        instance = site.start()
        assert instance.token(site.demo()).status == 200
        yield instance.ops("/metrics").body.decode()


def metrics(page):
    """Name: (help, type, label names)."""
    found = {}
    for name, text in re.findall(r"^# HELP (\S+) (.+)$", page, re.M):
        kind = re.search(rf"^# TYPE {name} (\w+)$", page, re.M)[1]
        labels = {label for series in re.findall(rf"^{name}(?:_bucket)?\{{(.*)\}} ", page, re.M)
                  for label in re.findall(r'(\w+)="', series)}
        found[name] = (text, kind, labels - {"le"})
    return found


def promtool(*args, **options):
    return subprocess.run(["promtool", *args], capture_output=True, text=True, **options)


def test_prometheus_reads_the_page(page):
    done = promtool("check", "metrics", input=page)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_table_is_complete(page):
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (?:`(\w+)`)? ?\| (.+) \|$", (ROOT / "README.md").read_text(), re.M)
    assert {name: (text, kind, {label} - {""}) for name, kind, label, text in rows} == metrics(page)


def test_the_alerts_are_sound():
    for command in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]):
        done = promtool(*command, cwd=PROMETHEUS)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_been_seen_to_fire():
    rules = yaml.safe_load((PROMETHEUS / "alerts.yaml").read_text())["groups"][0]["rules"]
    cases = [case for test in yaml.safe_load((PROMETHEUS / "alerts_test.yaml").read_text())["tests"]
             for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == {rule["alert"] for rule in rules}


def queries():
    dashboard = json.loads(DASHBOARD.read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def named(text):
    return {re.sub("_(bucket|sum|count)$", "", name) for name in re.findall(r"\bcardea_\w+", text)}


def test_rules_and_dashboard_name_real_metrics(page):
    known = set(metrics(page))
    assert named((PROMETHEUS / "alerts.yaml").read_text()) <= known
    assert named("\n".join(queries())) == known, "the dashboard shows them all"
    labels = {name: kinds for name, (_, _, kinds) in metrics(page).items()}
    for name, wanted in re.findall(r"\b(cardea_\w+)\{([^}]*)\}",
                                   (PROMETHEUS / "alerts.yaml").read_text() + "\n".join(queries())):
        used = set(re.findall(r"(\w+)=", wanted)) - {"instance", "job"}
        assert used <= labels[re.sub("_bucket$", "", name)], (name, wanted)


def test_label_values_of_the_rules_exist(page):
    for name, label, values in re.findall(r'(cardea_\w+)\{(\w+)=~?"([^"]+)"\}', (PROMETHEUS / "alerts.yaml").read_text()):
        for value in values.split("|"):
            assert re.search(rf'^{name}\{{{label}="{value}"\}} ', page, re.M), (name, label, value)


def test_the_dashboards_queries_are_understood(tmp_path):
    rules = [{"record": f"query:{n}", "expr": expr.replace("$__rate_interval", "5m").replace("$instance", ".*")}
             for n, expr in enumerate(queries())]
    (tmp_path / "rules.yaml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = promtool("check", "rules", str(tmp_path / "rules.yaml"))
    assert done.returncode == 0 and f"{len(rules)} rules found" in done.stdout, done.stdout + done.stderr


def test_the_dashboard_can_be_imported():
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(places)
    names = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", DASHBOARD.read_text())) - {"__rate_interval"}
    assert used == names
