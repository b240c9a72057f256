# SPDX-License-Identifier: Apache-2.0
"""Cardea as a service: what it tells the service manager, its unit, its sample settings, its Debian package."""
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import textwrap

import pytest
from conftest import PATIENCE, ROOT, base_environment, binary, free_port, http_request, run_check, wait_until

DOCKER = ROOT / "docker"
UNIT = DOCKER / "systemd" / "cardea.service"


def settings_table():
    """Name in the INI file, help, what it accepts, default: of every setting, as `cardea help serve` says."""
    out = subprocess.run([binary(), "help", "serve"], capture_output=True, text=True, check=True).stdout
    rows = re.findall(r"^  --(\S+) +(.*)\n +accepts (.*?)(?:; default (.*))?$", out.split("mean the same:\n")[1], re.M)
    assert len(rows) > 20
    return [(name.replace("-", "_"), *rest) for name, *rest in rows]


# --- sd_notify ---


class Manager:
    """Listens as systemd does."""

    def __init__(self, path):
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        self.socket.settimeout(PATIENCE)
        self.told = []

    def environment(self, watchdog="0"):
        return ["env", f"NOTIFY_SOCKET={self.path.replace(chr(0), '@')}", f"WATCHDOG_USEC={watchdog}"]

    def wait(self, wanted):
        """Reads until a message has this line; all its lines."""
        while True:
            lines = self.socket.recv(4096).decode().split("\n")
            self.told.append(lines)
            if wanted in lines:
                return lines


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    path = str(tmp_path / "notify") if request.param == "path" else f"\0cardea-test-{os.getpid()}-{free_port()}"
    return Manager(path)


def test_the_service_manager_is_told(site, manager):
    instance = site.start(wait=False, program=manager.environment())
    manager.wait("READY=1")
    assert instance.is_live(), "ready means listening"
    manager.wait("STATUS=ready")
    assert instance.is_ready()

    instance.signal(signal.SIGHUP)
    reloading = manager.wait("RELOADING=1")
    assert any(re.fullmatch(r"MONOTONIC_USEC=\d+", line) for line in reloading)
    manager.wait("READY=1")
    wait_until(lambda: instance.log_lines(event="reloaded"), "the reload")

    site.master_key.chmod(0o644)  # a reload that is refused must end, too: systemctl waits for it
    instance.signal(signal.SIGHUP)
    manager.wait("RELOADING=1")
    manager.wait("READY=1")
    site.master_key.chmod(0o600)

    instance.signal(signal.SIGTERM)
    manager.wait("STOPPING=1")
    assert instance.wait_exit() == 0
    assert ["WATCHDOG=1"] not in manager.told, "nobody asked for it"


def test_the_watchdog_is_fed(site, tmp_path):
    manager = Manager(str(tmp_path / "notify"))
    instance = site.start(program=manager.environment(watchdog="400000"))
    for _ in range(5):
        manager.wait("WATCHDOG=1")
    assert instance.is_ready()


def test_without_a_database_it_is_ready_to_the_manager_and_says_so(site, tmp_path):
    manager = Manager(str(tmp_path / "notify"))
    instance = site.start(wait=False, program=manager.environment(),
                          DATABASE_URL=f"host=127.0.0.1 port={free_port()} dbname=x")
    manager.wait("READY=1")
    manager.wait("STATUS=database away")
    assert not instance.is_ready()


@pytest.mark.parametrize("path", ["/nowhere/notify", "nonsense", "", "@" + "x" * 200])
def test_a_manager_that_is_not_there_does_no_harm(site, path):
    site.start(program=["env", f"NOTIFY_SOCKET={path}"])


# --- cardea health ---


def test_health(site):
    instance = site.start()
    ops = f"127.0.0.1:{instance.ops_port}"
    assert site.cli("health", OPS_LISTEN=ops) == (0, "/readyz: yes (200)\n", "")
    assert site.cli_json("health", "--live", OPS_LISTEN=ops) == {"path": "/livez", "status": 200}
    assert site.cli("health", OPS_LISTEN=f"0.0.0.0:{instance.ops_port}").status == 0, "any address is ours, too"
    assert site.cli("health", check=False, OPS_LISTEN="").status == 1
    assert site.cli("health", check=False, OPS_LISTEN="nonsense").status == 2
    instance.signal(signal.SIGSTOP)  # accepts, but does not answer
    try:
        done = site.cli("health", check=False, OPS_LISTEN=ops)
        assert done.status == 1 and done.out.count("\n") == 1
    finally:
        instance.signal(signal.SIGCONT)
    instance.stop()
    done = site.cli("health", check=False, OPS_LISTEN=ops)
    assert done.status == 1 and "no answer" in done.out


def test_health_when_not_ready(site):
    instance = site.start(wait=False, DATABASE_URL=f"host=127.0.0.1 port={free_port()} dbname=x")
    instance.wait_live()
    ops = f"127.0.0.1:{instance.ops_port}"
    assert site.cli("health", check=False, OPS_LISTEN=ops) == (1, "/readyz: no (503)\n", "")
    assert site.cli("health", "--live", OPS_LISTEN=ops).status == 0


# --- traceparent ---


def test_traceparent_reaches_the_log(site):
    instance = site.start()
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    instance.get("/.well-known/jwks.json", traceparent=f"00-{trace}-00f067aa0ba902b7-01")
    wait_until(lambda: instance.log_lines(event="request", trace_id=trace), "the line")
    for bad in ("00-" + "0" * 32 + "-00f067aa0ba902b7-01", "nonsense", f"ff-{trace[::-1]}-00f067aa0ba902b7-01"):
        assert instance.get("/.well-known/jwks.json", traceparent=bad, x_request_id="bad").status == 200
    wait_until(lambda: len(instance.log_lines(request_id="bad")) == 3, "the lines")
    assert not any(line.get("trace_id") for line in instance.log_lines(request_id="bad"))


# --- what is shipped, held against the settings table ---


def test_the_sample_settings_are_the_table():
    sample = (DOCKER / "cardea.ini").read_text()
    shown = re.findall(r"^# (.+)\.\n# Accepts (.+)\.\n(# )?(\w+) =(?: (.*))?$", sample, re.M)
    wanted = [(name, text[0].upper() + text[1:], accepts) for name, text, accepts, _ in settings_table()]
    assert [(name, text, accepts) for text, accepts, _, name, _ in shown] == wanted
    defaults = {name: default for name, _, _, default in settings_table()}
    for _, _, commented, name, value in shown:
        assert not commented or value == defaults[name], f"{name} is commented out, but not with its default"


def test_the_sample_settings_are_accepted(tmp_path):
    done = subprocess.run([binary(), "config", "--json", "--config", DOCKER / "cardea.ini"], capture_output=True,
                          text=True, env=base_environment(), check=True)
    values = {item["name"]: item for item in json.loads(done.stdout)["settings"]}
    assert values["CARDEA_MASTER_KEY_FILE"]["value"] == "/etc/cardea/master.key"
    everything = re.sub(r"^# (\w+ = .+)$", r"\1", (DOCKER / "cardea.ini").read_text(), flags=re.M)
    (tmp_path / "cardea.ini").write_text(everything)
    subprocess.run([binary(), "config", "--json", "--config", tmp_path / "cardea.ini"], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=base_environment())


def test_the_manuals_are_complete():
    manual = (DOCKER / "man" / "cardea.ini.5").read_text()
    shown = re.findall(r"^\.TP\n\.B (\w+)\n(.+)\.\nAccepts (.+?)\.(?:\nDefault: (.*)\.)?$", manual, re.M)
    assert shown == [(name, text[0].upper() + text[1:], accepts, default)
                     for name, text, accepts, default in settings_table()]
    out = subprocess.run([binary(), "help"], capture_output=True, text=True, check=True).stdout
    verbs = re.findall(r"^  cardea (\S+(?: [a-z]+)?)", out, re.M)
    shown = re.findall(r"^\.B ([a-z-]+(?: [a-z]+)?)", (DOCKER / "man" / "cardea.1").read_text().split(".SH OPTIONS")[0]
                       .split(".SH COMMANDS")[1], re.M)
    assert shown == verbs


def test_the_readme_names_every_command():
    out = subprocess.run([binary(), "help"], capture_output=True, text=True, check=True).stdout
    table = (ROOT / "README.md").read_text().split("| command | |\n")[1].split("\n\n")[0]
    for noun, verb in re.findall(r"^  cardea (\S+) ?([a-z]*)", out, re.M):
        row, = [line for line in table.splitlines() if re.search(rf"`(cardea )?{noun}\b", line)]
        assert re.search(rf"[ `]{verb}\b", row), (noun, verb)


@pytest.mark.parametrize("words, wanted", [
    (["ser"], ["serve"]), (["key", "en"], ["enable"]), (["help", "sig"], ["signing-key"]),
    (["tenant", ""], ["create", "delete", "disable", "enable", "list"]),
    (["key", "create", "--exp"], ["--expires"]), (["serve", "--token-t"], ["--token-ttl", "--token-typ"])])
def test_completion(words, wanted):
    script = f"""
        source {DOCKER}/completion/cardea.bash
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _cardea
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    out = subprocess.run(["bash", "-c", script, "bash", binary(), *words], capture_output=True, text=True, check=True)
    assert sorted(out.stdout.split()) == wanted, out


# --- the unit and the package ---


def test_the_unit_is_sandboxed():
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=15", UNIT],
                          capture_output=True, text=True)
    score = re.search(r"exposure level for cardea.service: ([0-9.]+)", done.stdout)
    assert score and float(score[1]) <= 1.5 and done.returncode == 0, done


def unit_settings(section):
    """Name and values; systemd's own parser is not needed for what we use."""
    text = UNIT.read_text().split(f"[{section}]\n")[1].split("\n[")[0]
    values = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", text, re.M):
        values.setdefault(name, []).append(value)
    return values


def test_the_unit_is_understood(tmp_path):
    """With a program in the place where the package puts it."""
    text = UNIT.read_text().replace("/usr/bin/cardea", binary()).replace("Documentation=", "X-Documentation=")
    (tmp_path / "cardea.service").write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", tmp_path / "cardea.service"], capture_output=True,
                          text=True)
    assert "cardea.service" not in done.stderr, done.stderr


@pytest.fixture(scope="module")
def package():
    """The Debian package, of a release build."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="cardea-package-", dir="/tmp"))
    try:
        for command in (["cmake", "--preset", "release", "-S", ROOT, "-B", folder], ["cmake", "--build", folder]):
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        subprocess.run(["cpack", "-G", "DEB"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        yield next(folder.glob("cardea_*.deb"))
    finally:
        shutil.rmtree(folder)


def test_the_package_has_no_errors(package):
    done = subprocess.run(["lintian", "--allow-root", "--fail-on", "error", package], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


INSIDE = """
    set -eu
    mount -t tmpfs tmpfs "$1"
    mkdir "$1/upper" "$1/work" "$1/root"
    mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
    root=$1/root
    cp "$2" "$root/cardea.deb"
    mount --rbind /dev "$root/dev"
    mount --rbind /proc "$root/proc"
    inside() { chroot "$root" "$@"; }
    as_cardea() { inside setpriv --reuid=cardea --regid=cardea --clear-groups --no-new-privs -- "$@"; }

    inside dpkg -i /cardea.deb >&2
    inside dpkg -V cardea >&2
    inside stat -c '%U:%G %a %n' /etc/cardea/cardea.ini /etc/cardea/master.key
    printf 'issuer = %s\\nlisten = 127.0.0.1:%s\\nops_listen = 127.0.0.1:%s\\ndatabase_url = %s\\ndrain_idle = 100ms\\n' \
        "http://127.0.0.1:$3" "$3" "$4" "$5" >"$root/etc/cardea/cardea.ini"
    echo 'master_key_file = /etc/cardea/master.key' >>"$root/etc/cardea/cardea.ini"
    inside cardea migrate
    inside cardea tenant create acme --name Acme >/dev/null
    inside cardea scope create data:read --title Read >/dev/null
    inside cardea key create --tenant acme --name one --scope data:read --expires 1d --json | tr -d '\\n'
    echo
    # What systemd does with LoadCredential.
    inside install -d -o cardea -m 500 /run/credentials/cardea.service
    inside install -o cardea -m 400 /etc/cardea/master.key /run/credentials/cardea.service/master.key
    chroot "$root" setpriv --reuid=cardea --regid=cardea --clear-groups --no-new-privs -- env \\
        CARDEA_MASTER_KEY_FILE=/run/credentials/cardea.service/master.key /usr/bin/cardea serve >&2 &
    server=$!
    for i in $(seq 300); do
        ! as_cardea cardea health >/dev/null 2>&1 || break
        kill -0 $server
        sleep 0.1
    done
    as_cardea cardea health
    read -r line    # the test has had its token
    kill $server
    wait $server
    inside dpkg -r cardea >&2
    inside sh -c '! test -e /usr/bin/cardea && test -s /etc/cardea/cardea.ini && test -s /etc/cardea/master.key'
    inside dpkg -P cardea >&2
    inside sh -c '! test -e /etc/cardea/cardea.ini && test -s /etc/cardea/master.key'
    echo removed
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="installing a package needs root")
def test_the_package_is_installed_started_and_removed(package, postgres):
    """On this machine, in a layer of the file system that is thrown away."""
    service = unit_settings("Service")
    assert service["ExecStart"] == ["/usr/bin/cardea serve"] and service["User"] == ["cardea"]
    assert service["LoadCredential"] == ["master.key:/etc/cardea/master.key"]
    assert service["Environment"] == ["CARDEA_MASTER_KEY_FILE=%d/master.key"]
    port, folder = free_port(), tempfile.mkdtemp(prefix="cardea-layer-", dir="/tmp")
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", textwrap.dedent(INSIDE), "bash",
             folder, package, str(port), str(free_port()), postgres.tcp_url()], text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=errors, cwd="/", env=base_environment())
        try:
            lines = [process.stdout.readline().strip() for _ in range(5)]
            ready = lines[-1] == "/readyz: yes (200)"
            if ready:
                key = json.loads(lines[3])
                answer = http_request(
                    ("127.0.0.1", port), "POST", "/oauth2/token",
                    f"grant_type=client_credentials&client_id={key['key_id']}&client_secret={key['secret']}",
                    {"Content-Type": "application/x-www-form-urlencoded"})
                assert answer.status == 200, answer
            rest, _ = process.communicate("\n", timeout=4 * PATIENCE)
            errors.seek(0)
            assert ready and rest == "removed\n" and process.returncode == 0, (lines, rest, errors.read())
            assert lines[:2] == ["root:cardea 640 /etc/cardea/cardea.ini", "root:root 600 /etc/cardea/master.key"]
        finally:
            process.kill()
            process.wait()
            os.rmdir(folder)
    assert not os.path.exists("/usr/bin/cardea"), "the machine is as it was"


def test_the_package_is_a_service_under_systemd(package):
    """systemd as process 1, in a container: what the unit promises is what its kernel objects show."""
    text = run_check(DOCKER / "check-service", package)
    for line in ("systemctl start returned at READY=1", "sandbox: user cardea", "systemctl reload: the same process",
                 "watchdog: well", "master key: a new one", "systemctl stop: exit status 0", "done"):
        assert line in text, text
