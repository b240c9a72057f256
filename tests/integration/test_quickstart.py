# SPDX-License-Identifier: Apache-2.0
"""server/quickstart itself, in a copy of this clone: as root, as an ordinary user, twice, and when it cannot work."""
import contextlib
import json
import os
import pathlib
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import jwt
import pytest
from conftest import ROOT, base_environment, free_port, http_request, basic, wait_until

BUILD = 600  # seconds: the first run compiles
IS_ROOT = os.geteuid() == 0
NOBODY = ["setpriv", f"--reuid={pwd.getpwnam('nobody').pw_uid}", f"--regid={pwd.getpwnam('nobody').pw_gid}", "--clear-groups"]


# Ctrl-C reaches the foreground process group, as does what `timeout` sends; `kill` reaches one process.
SIGNALS = {"Ctrl-C": lambda process: os.killpg(process.pid, signal.SIGINT),
           "kill": lambda process: process.terminate(),
           "timeout": lambda process: os.killpg(process.pid, signal.SIGTERM)}
NOISE = re.compile(r"Terminated|Killed|Hangup|Traceback|KeyboardInterrupt|Cancel request|quickstart: |cardea: |: line \d")


class Clone:
    """A copy under a home that only its owner can enter."""

    def __init__(self):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="cardea-clone-", dir="/tmp"))
        self.root = self.home / "a clone"
        self.state = self.root / "build/quickstart"
        shutil.copytree(ROOT, self.root, symlinks=True, ignore=lambda folder, _:
                        [".git", "build"] if pathlib.Path(folder) == ROOT else ["__pycache__"])

    def give_to(self, user):
        entry = pwd.getpwnam(user)
        subprocess.run(["chown", "-R", f"{entry.pw_uid}:{entry.pw_gid}", self.home], check=True)
        self.home.chmod(0o700)

    def environment(self, port, **more):
        return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.home),
                "CARDEA_LISTEN": f"127.0.0.1:{port}", **more}

    def close(self):
        link = self.state / "data"
        if link.is_symlink():
            assert re.fullmatch(r"/var/lib/cardea-quickstart-\w+/data", os.readlink(link))
            shutil.rmtree(pathlib.Path(os.readlink(link)).parent)
        shutil.rmtree(self.home)


class Run:
    """A quickstart in the foreground of a session of its own."""

    def __init__(self, clone, user=(), port=None, cwd="/", **environment):
        self.clone, self.port = clone, port or free_port()
        self.out = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [*user, clone.root / "server/quickstart"], env=clone.environment(self.port, **environment), cwd=cwd,
            stdin=subprocess.DEVNULL, stdout=self.out, stderr=subprocess.STDOUT, start_new_session=True,
            # What runs behind a script's "&" ignores it, and so would everything that it starts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))

    def text(self):
        self.out.seek(0)
        return self.out.read().decode()

    def wait_running(self):
        def running():
            assert self.process.poll() is None, self.text()
            return "Ctrl-C stops" in self.text()
        wait_until(running, "the quickstart shows its last lines", BUILD)
        return self

    def demo(self):
        return json.loads((self.clone.state / "demo.json").read_text())

    def descendants(self):
        """PIDs of everything it has started."""
        found, todo = [], [self.process.pid]
        while todo:
            path = pathlib.Path(f"/proc/{todo.pop()}/task")
            for task in path.glob("*/children") if path.exists() else []:
                pids = [int(pid) for pid in task.read_text().split()]
                found += pids
                todo += pids
        return found

    def interrupt(self, how="Ctrl-C"):
        """Whatever it was doing: that is no failure, nobody says a word about it, and nothing is left."""
        children = self.descendants()
        SIGNALS[how](self.process)
        assert self.process.wait(60) == 0, self.text()
        wait_until(lambda: not any(pathlib.Path(f"/proc/{pid}").exists() for pid in children), "all have ended")
        assert not NOISE.search(self.text()), self.text()


def program_of(pid):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    return None


def check_demo(run):
    """demo.json is what DESIGN says, and for its owner alone."""
    path = run.clone.state / "demo.json"
    demo = run.demo()
    assert path.stat().st_mode & 0o777 == 0o600
    assert set(demo) == {"issuer", "tenant", "management", "api"} and demo["tenant"] == "demo"
    assert demo["issuer"] == f"http://127.0.0.1:{run.port}"
    assert set(demo["management"]) == set(demo["api"]) == {"key_id", "secret"}
    return demo


def token_of(run, which):
    key = run.demo()[which]
    answer = http_request(("127.0.0.1", run.port), "POST", "/oauth2/token", "grant_type=client_credentials",
                          {"Authorization": basic(key["key_id"], key["secret"]),
                           "Content-Type": "application/x-www-form-urlencoded"})
    assert answer.status == 200, answer
    return answer.json()["access_token"]


def check_printed_lines(run, user):
    """Each command that is printed runs as printed, one after the other in one shell, in another folder."""
    lines = run.text().split("in another terminal:")[1].split("Credentials are in")[0].splitlines()
    commands = [line for line in lines if line and not line.startswith("#")]
    assert len(commands) >= 6
    script = "".join(f"echo '=== {n}'\n{command}\n" for n, command in enumerate(commands))
    done = subprocess.run([*user, "bash", "-c", script], capture_output=True, text=True, cwd="/", timeout=60,
                          env={"PATH": os.environ["PATH"], "HOME": "/"})
    assert done.returncode == 0 and done.stderr == "", done
    outputs = [part.split("\n", 1)[1] for part in done.stdout.split("=== ")[1:]]
    assert json.loads(outputs[0])["token_type"] == "Bearer"
    assert json.loads(outputs[2])["tenant"] == "demo"
    assert run.demo()["api"]["key_id"] in outputs[3] and "'tenant': 'demo'" in outputs[3]
    assert run.demo()["api"]["key_id"] in json.dumps(json.loads(outputs[5]))
    assert run.demo()["api"]["key_id"] in outputs[6] and "KEY ID" in outputs[6]


def check_token(run):
    token = token_of(run, "api")
    issuer = run.demo()["issuer"]
    key = jwt.PyJWKClient(issuer + "/.well-known/jwks.json").get_signing_key_from_jwt(token).key
    return jwt.decode(token, key, algorithms=["ES256"], audience=issuer + "/api", issuer=issuer)


@pytest.fixture(scope="module")
def clone():
    fresh = Clone()
    yield fresh
    fresh.close()


def check_whole(clone, user):
    """One run, and a second that finds everything again."""
    run = Run(clone, user).wait_running()
    try:
        demo = check_demo(run)
        claims = check_token(run)
        assert (claims["tenant"], claims["scope"]) == ("demo", "data:read data:write")
        token = token_of(run, "management")
        answer = http_request(("127.0.0.1", run.port), "GET", "/v1/tenants/demo/keys",
                              headers={"Authorization": "Bearer " + token})
        assert {key["key_id"] for key in answer.json()["items"]} == {demo["api"]["key_id"], demo["management"]["key_id"]}
        assert f"http://127.0.0.1:{run.port}/console/" in run.text()
        check_printed_lines(run, user)
        assert not list(clone.state.glob("core*"))
    finally:
        run.interrupt()
    again = Run(clone, user).wait_running()  # on another port
    try:
        assert {k: v for k, v in check_demo(again).items() if k != "issuer"} == {k: v for k, v in demo.items() if k != "issuer"}
        assert check_token(again)["sub"] == demo["api"]["key_id"]
        check_locked(clone, user)
    finally:
        again.interrupt()


def failure(clone, user, **environment):
    """A run that must fail: its one sentence."""
    port = environment.pop("port", None) or free_port()
    done = subprocess.run([*user, clone.root / "server/quickstart"], env=clone.environment(port, **environment), cwd="/",
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BUILD)
    assert done.returncode == 1, done
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("quickstart: ")]
    return line


def check_locked(clone, user):
    assert "running already" in failure(clone, user)


@pytest.mark.skipif(not IS_ROOT, reason="needs root, to become somebody else")
def test_as_an_ordinary_user(clone):
    clone.give_to("nobody")
    check_whole(clone, NOBODY)


@pytest.mark.skipif(not IS_ROOT, reason="needs root")
def test_as_root_on_the_data_of_another_user(clone):
    """Root finds what nobody has made."""
    before = json.loads((clone.state / "demo.json").read_text())
    run = Run(clone).wait_running()
    try:
        assert check_demo(run)["api"] == before["api"]
        check_token(run)
    finally:
        run.interrupt()


@pytest.mark.skipif(not IS_ROOT, reason="needs root")
def test_as_root_where_postgres_cannot_enter(clone):
    """PostgreSQL runs as user postgres, which may not enter root's home; nor is it asked to."""
    link = clone.state / "data"
    if link.is_symlink():
        shutil.rmtree(pathlib.Path(os.readlink(link)).parent)
    shutil.rmtree(clone.state)
    clone.give_to("root")
    check_whole(clone, [])
    assert link.is_symlink() and link.stat().st_uid == pwd.getpwnam("postgres").pw_uid
    assert clone.home.stat().st_mode & 0o777 == 0o700, "rights were left alone"


@pytest.mark.skipif(IS_ROOT, reason="root has the tests above")
def test_as_this_user(clone):
    check_whole(clone, [])


def test_killed_and_started_again(clone):
    """Nothing of a quickstart survives it, and the next one works."""
    run = Run(clone).wait_running()
    children = run.descendants()
    run.process.kill()
    run.process.wait()
    wait_until(lambda: not any(pathlib.Path(f"/proc/{pid}").exists() for pid in children), "all have ended")
    again = Run(clone).wait_running()
    try:
        check_token(again)
    finally:
        again.interrupt()


@pytest.mark.parametrize("how", SIGNALS)
def test_stopped_at_any_moment(clone, how):
    """From the build to the last line, and a little after each."""
    chance = random.Random(how)
    for moment in ["Building", "Starting PostgreSQL", "Starting the server", "A token", "Ctrl-C stops"] * 4:
        run = Run(clone)
        wait_until(lambda: moment in run.text() or run.process.poll() is not None, f'it says "{moment}"', BUILD)
        time.sleep(chance.choice([0, chance.uniform(0, 0.3)]))
        run.interrupt(how)
    again = Run(clone).wait_running()
    try:
        check_token(again)
    finally:
        again.interrupt(how)


def test_stopped_while_it_builds(clone):
    """The compilers end, too, and the next one builds the rest."""
    for how in SIGNALS:
        for header in clone.root.glob("common/base/*.h"):
            header.touch()
        run = Run(clone)
        wait_until(lambda: "cc1" in map(program_of, run.descendants()), "it compiles", BUILD)
        run.interrupt(how)
    Run(clone).wait_running().interrupt()


def test_disabled_demo_key_is_replaced(clone):
    """Whoever played with the console gets a working demo again."""
    demo = json.loads((clone.state / "demo.json").read_text())
    run = Run(clone).wait_running()
    subprocess.run([clone.root / "build/release/cardea", "key", "disable", demo["api"]["key_id"], "--config",
                    clone.state / "cardea.ini"], check=True, env=base_environment(), stdout=subprocess.DEVNULL)
    run.interrupt()
    again = Run(clone).wait_running()
    try:
        assert check_demo(again)["api"] != demo["api"] and again.demo()["management"] == demo["management"]
    finally:
        again.interrupt()


def test_data_of_another_version(clone):
    run = Run(clone).wait_running()
    sockets = re.search(r"host=(\S+)", (clone.state / "cardea.ini").read_text())[1]
    subprocess.run(["psql", "-Xqc", "UPDATE schema_migration SET version = 9999 WHERE version = 1",
                    f"host={sockets} dbname=cardea user=cardea"], check=True, env=base_environment())
    run.interrupt()
    assert "made by another version" in failure(clone, [])
    subprocess.run(["rm", "-r", clone.state / "data"], check=True)  # as the sentence says
    again = Run(clone).wait_running()
    try:
        check_token(again)
    finally:
        again.interrupt()


def test_foreign_settings_do_not_mix_in(clone):
    run = Run(clone, CARDEA_SIGNING_ALG="RS256", CARDEA_NO_SUCH="x", PGHOST="/nonexistent", PGUSER="x").wait_running()
    try:
        assert check_token(run)["tenant"] == "demo"
    finally:
        run.interrupt()


# --- one sentence each --------------------------------------------------------------------------


def test_port_taken(clone):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = failure(clone, [], port=port)
        assert f"port {port} is taken" in said and "CARDEA_LISTEN=" in said


@pytest.mark.parametrize("listen", ["8080", "x.example:80", "127.0.0.1:0", "127.0.0.1:99999x", "192.0.2.1:8080", ""])
def test_bad_address(clone, listen):
    if listen:
        said = failure(clone, [], CARDEA_LISTEN=listen)
        assert "CARDEA_LISTEN" in said and "127.0.0.1:" in said


@pytest.mark.skipif(not IS_ROOT, reason="needs root, to become somebody else")
def test_no_right_to_write(clone):
    clone.home.chmod(0o755)
    try:
        assert "no right to write" in failure(clone, NOBODY)
    finally:
        clone.home.chmod(0o700)


def fake_programs(clone, **programs):
    """A PATH on which some programs are not what they were."""
    folder = pathlib.Path(tempfile.mkdtemp(dir=clone.home))
    folder.chmod(0o755)
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return f"{folder}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


MISSING = '#!/bin/sh\ncase "$*" in *libjwt-dev*) exit 1;; esac\nexec /usr/bin/dpkg-query "$@"\n'


def test_no_network(clone):
    path = fake_programs(clone, **{"dpkg-query": MISSING, "apt-get": "#!/bin/sh\necho 'E: Temporary failure' >&2\nexit 100\n",
                                   "sudo": '#!/bin/sh\n[ "$1" != -n ] || shift\n[ "$1" = -v ] || exec "$@"\n'})
    said = failure(clone, [], PATH=path)
    assert "check the network" in said


@pytest.mark.parametrize("more", [[], ["bash"]])
def test_install_alone(clone, more):
    """All that the build needs is here, so apt is not called, with and without packages of the caller's own."""
    path = fake_programs(clone, **{"apt-get": "#!/bin/sh\nexit 100\n", "sudo": "#!/bin/sh\nexit 100\n"})
    subprocess.run([clone.root / "server/quickstart", "--install", *more], env=clone.environment(free_port(), PATH=path),
                   check=True, capture_output=True)


@pytest.mark.skipif(not IS_ROOT, reason="needs root, to become somebody else")
def test_no_sudo(clone):
    path = fake_programs(clone, **{"dpkg-query": MISSING, "sudo": "#!/bin/sh\nexit 1\n"})
    clone.give_to("nobody")
    try:
        said = failure(clone, NOBODY, PATH=path)
    finally:
        clone.give_to("root")
    assert "sudo was refused" in said and "apt-get install libjwt-dev" in said


def test_build_fails(clone):
    source = clone.root / "server/main.c"
    text = source.read_text()
    source.write_text(text + "\n#error broken on purpose\n")
    try:
        assert "the build failed" in failure(clone, [])
    finally:
        source.write_text(text)


def test_help(clone):
    done = subprocess.run([clone.root / "server/quickstart", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "CARDEA_LISTEN" in done.stdout


def test_by_a_link_from_another_folder(clone, tmp_path):
    (tmp_path / "start").symlink_to(clone.root / "server/quickstart")
    done = subprocess.run([tmp_path / "start", "--help"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0
