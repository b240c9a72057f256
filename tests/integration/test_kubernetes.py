# SPDX-License-Identifier: Apache-2.0
"""The manifests of docker/kubernetes/: held against Kubernetes' own schema (the models that its client library is
generated with), against each other, the settings table and the image. No cluster can be had here, so that is all."""
import copy
import json
import re
import subprocess
import types

import pytest
import yaml
from conftest import ROOT, base_environment, binary
from kubernetes import client
from test_service import settings_table

FOLDER = ROOT / "docker" / "kubernetes"
API = {"ServiceAccount": "v1", "Service": "v1", "Secret": "v1", "Deployment": "apps/v1", "Job": "batch/v1",
       "PodDisruptionBudget": "policy/v1", "NetworkPolicy": "networking.k8s.io/v1"}
SECONDS = re.compile(r"(\d+)s")


def objects():
    return [item for path in sorted(FOLDER.glob("*.yaml")) for item in yaml.safe_load_all(path.read_text())]


def one(kind):
    found = [item for item in objects() if item["kind"] == kind]
    assert len(found) == 1
    return found[0]


def pods():
    return [one(kind)["spec"]["template"]["spec"] for kind in ("Deployment", "Job")]


def containers():
    return [container for pod in pods() for container in pod.get("initContainers", []) + pod["containers"]]


def test_kinds_and_names():
    for item in objects():
        assert item["apiVersion"] == API[item["kind"]] and re.fullmatch(r"[a-z][a-z0-9.-]*", item["metadata"]["name"])
    assert sorted(item["kind"] for item in objects()) == sorted(API)
    shown = set(yaml.safe_load(path.read_text())["kind"] for path in [FOLDER / "migrate.yaml", FOLDER / "secret.example.yaml"])
    assert shown == {"Job", "Secret"}


def as_kubernetes_reads_it(item):
    """Through the typed models of this kind, and back: what they do not know is lost, what they refuse is a ValueError."""
    version = item["apiVersion"].split("/")[-1]
    model = version.capitalize() + item["kind"]
    api = client.ApiClient()
    try:
        return api.sanitize_for_serialization(api.deserialize(types.SimpleNamespace(data=json.dumps(item)), model))
    finally:
        api.close()


@pytest.mark.parametrize("item", objects(), ids=lambda item: item["kind"])
def test_the_schema_knows_every_field(item):
    assert as_kubernetes_reads_it(item) == item


@pytest.mark.parametrize("path, value", [
    (("spec", "replica"), 2), (("spec", "replicas"), "two"), (("spec", "selector"), None),
    (("spec", "strategy", "rollingUpdate", "maxUnavailble"), 0),
    (("spec", "template", "spec", "containers", 0, "readinessProbe", "periodSecond"), 2),
    (("spec", "template", "spec", "containers", 0, "securityContext", "readOnlyRootFileSystem"), True),
    (("spec", "template", "spec", "containers", 0, "name"), None)], ids=str)
def test_the_schema_finds_what_is_wrong(path, value):
    """Or the test above would prove nothing. None takes away a field that is required."""
    item = copy.deepcopy(one("Deployment"))
    place = item
    for step in path[:-1]:
        place = place[step]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    try:
        assert as_kubernetes_reads_it(item) != item
    except ValueError:
        pass


def test_every_setting_exists_and_every_value_is_accepted():
    table = {"CARDEA_" + row[0].upper() for row in settings_table()}
    for container in containers():
        settings = {item["name"]: item.get("value") for item in container.get("env", [])}
        assert set(settings) <= table
        values = {name: value for name, value in settings.items() if value is not None and "MASTER_KEY" not in name}
        subprocess.run([binary(), "config"], env=dict(base_environment(), **values), check=True,
                       stdout=subprocess.DEVNULL)


def test_the_service_sets_no_settings():
    """Kubernetes gives every pod variables for each service of its namespace, named after it, unless told not to."""
    name = one("Service")["metadata"]["name"].upper()
    for pod in pods():
        assert pod["enableServiceLinks"] is False
    done = subprocess.run([binary(), "config"], env=dict(base_environment(), **{f"{name}_PORT": "tcp://10.0.0.1:80"}),
                          capture_output=True, text=True)
    assert done.returncode == 2 and f"{name}_PORT (environment) is no setting" in done.stderr, "or it would not matter"


def test_every_command_exists():
    verbs = subprocess.run([binary(), "help"], capture_output=True, text=True, check=True).stdout
    for container in containers():
        for verb in container.get("args", []):
            assert f"  cardea {verb} " in verbs


def test_secrets_that_are_named_exist():
    secret = one("Secret")
    for container in containers():
        for item in container.get("env", []):
            wanted = item.get("valueFrom", {}).get("secretKeyRef")
            assert not wanted or (wanted["name"] == secret["metadata"]["name"] and wanted["key"] in secret["stringData"])
    volume = next(volume for volume in pods()[0]["volumes"] if "secret" in volume)["secret"]
    assert {item["key"] for item in volume["items"]} <= set(secret["stringData"])
    assert volume["secretName"] == secret["metadata"]["name"] and volume["defaultMode"] == 0o440
    for value in secret["stringData"].values():
        assert "REPLACE" in value, "nobody's secret is in the repository"


def test_selectors_find_the_pods():
    labels = one("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert one("Deployment")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert one("Service")["spec"]["selector"].items() <= labels.items()
    assert one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert one("Job")["spec"]["template"]["metadata"]["labels"] != labels, "the service must not lead to the migration"


def test_ports_and_probes():
    container = pods()[0]["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    settings = {item["name"]: item.get("value") for item in container["env"]}
    assert settings["CARDEA_LISTEN"].endswith(f":{ports['http']}")
    assert settings["CARDEA_OPS_LISTEN"].endswith(f":{ports['ops']}")
    for probe, path in (("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        assert container[probe]["httpGet"] == {"path": path, "port": "ops"}
    named = [port["targetPort"] for port in one("Service")["spec"]["ports"]]
    named += [port["port"] for rule in one("NetworkPolicy")["spec"]["ingress"] for port in rule["ports"]]
    assert set(named) <= set(ports)


def test_an_update_refuses_nobody():
    spec = one("Deployment")["spec"]
    pod = spec["template"]["spec"]
    container = pod["containers"][0]
    assert spec["replicas"] >= 2 and spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert one("PodDisruptionBudget")["spec"]["minAvailable"] >= 1
    readiness = container["readinessProbe"]
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    drain = int(SECONDS.fullmatch(next(item["value"] for item in container["env"]
                                       if item["name"] == "CARDEA_DRAIN_TIMEOUT"))[1])
    assert pause + drain < pod["terminationGracePeriodSeconds"]
    assert pause > readiness["periodSeconds"]


@pytest.mark.parametrize("number", range(3))
def test_nothing_runs_with_more_rights_than_it_needs(number):
    container = containers()[number]
    context = container["securityContext"]
    assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
    assert context["capabilities"] == {"drop": ["ALL"]} and "limits" in container["resources"]
    user = next(rest for rest in re.findall(r"^USER (\d+):", (ROOT / "docker/Dockerfile").read_text(), re.M))
    for pod in pods():
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == int(user)
        assert pod["automountServiceAccountToken"] is False
