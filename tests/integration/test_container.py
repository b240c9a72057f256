# SPDX-License-Identifier: Apache-2.0
"""The container: its parts, held against the program; and docker/check-image, which starts the image as a server and has
docker compose give a token, where the machine lets a Docker engine run; and builds it where none can."""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile

import pytest
import yaml
from conftest import (ROOT, base_environment, binary, die_with_parent, free_port, http_request, run_check,
                      wait_until)
from test_service import settings_table

DOCKER = ROOT / "docker"


def compose():
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())


def instructions():
    """Of the Dockerfile: (word, rest), continued lines joined."""
    text = re.sub(r"^#.*\n", "", (DOCKER / "Dockerfile").read_text(), flags=re.M).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def test_the_dockerfile():
    found = instructions()
    known = {"FROM", "RUN", "WORKDIR", "COPY", "ENV", "USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
    assert {word for word, _ in found} <= known
    assert not any("<<" in rest or "--link" in rest or "--mount" in rest for _, rest in found), "buildah 1.28"
    last = dict(found[max(n for n, (word, _) in enumerate(found) if word == "FROM"):])
    assert json.loads(last["ENTRYPOINT"]) == ["/usr/bin/cardea"] and json.loads(last["CMD"]) == ["serve"]
    assert json.loads(last["HEALTHCHECK"].split("CMD ")[1]) == ["/usr/bin/cardea", "health"]
    assert int(last["USER"].split(":")[0]) > 1000 and last["STOPSIGNAL"] == "SIGTERM"
    name, value = last["ENV"].split("=")
    assert value == "0.0.0.0:8080" and name in {"CARDEA_" + row[0].upper() for row in settings_table()}


def test_the_image_is_built_and_run_with_the_right_packages():
    """What quickstart installs to build is what the image installs; what the program needs is what the image holds."""
    built, held = [set(re.findall(r"\blib[\w.+-]+", rest)) for word, rest in instructions()
                   if word == "RUN" and "apt-get install" in rest]
    script = (ROOT / "server" / "quickstart").read_text().split("build_needs='")[1].split("'")[0]
    assert built == {line.split()[0] for line in script.splitlines() if line.startswith("lib")}
    needed = subprocess.run(["objdump", "-p", binary()], capture_output=True, text=True, check=True).stdout
    names = re.findall(r"NEEDED +(\S+)", needed)
    wanted = [f"*/{name}" for name in names if not re.match(r"lib(c|m|asan|ubsan|tsan|pthread|gcc_s)\.", name)]
    out = subprocess.run(["dpkg", "-S", *wanted], capture_output=True, text=True, check=True).stdout
    owners = {line.split(":")[0] for line in out.splitlines()}
    assert owners <= held, "every library that the program is linked with"


def test_compose_is_consistent():
    file = compose()
    table = {"CARDEA_" + row[0].upper() for row in settings_table()}
    services = file["services"]
    for name, service in services.items():
        for variable in service.get("environment", {}):
            assert not variable.startswith("CARDEA_") or variable in table, (name, variable)
        for other in service.get("depends_on", {}):
            assert other in services
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (DOCKER / source).exists() if source.startswith(".") else source in file["volumes"], volume
    assert services["cardea-1"] == services["cardea-2"] and services["cardea-1"]["read_only"]
    assert (DOCKER / services["migrate"]["build"]["context"]).resolve() == ROOT
    assert (ROOT / services["migrate"]["build"]["dockerfile"]).exists()


@pytest.fixture
def folder():
    path = pathlib.Path(tempfile.mkdtemp(prefix="cardea-compose-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


def run_service(name, environment, folder):
    """The command of a one-shot service, with its volumes in a folder."""
    service = compose()["services"][name]
    assert service["entrypoint"] == ["/bin/sh", "-c"]
    text = service["command"][0].replace("$$", "$").replace("/demo/", f"{folder}/")
    path = f"{pathlib.Path(binary()).parent}:{os.environ['PATH']}"
    done = subprocess.run(["/bin/sh", "-c", text], env=dict(environment, PATH=path), capture_output=True, text=True)
    assert done.returncode == 0, done
    return done.stdout


def test_compose_gives_a_token_that_its_gateway_accepts(site, folder):
    """Two instances behind the nginx of compose.yaml, and the commands of its services `demo` and `token`."""
    port, api_port = free_port(), free_port()
    issuer = f"http://127.0.0.1:{port}"
    settings = dict(ISSUER=issuer, TRUSTED_PROXIES="127.0.0.0/8")
    instances = [site.start(**settings), site.start(**settings)]
    text = (DOCKER / "compose.nginx.conf").read_text()
    for old, new in (("http://127.0.0.1:8000", issuer), ("listen 8000", f"listen 127.0.0.1:{port}"),
                     ("cardea-1:8080", f"127.0.0.1:{instances[0].port}"), ("$host:8000", f"$host:{port}"),
                     ("cardea-2:8080", f"127.0.0.1:{instances[1].port}"), ("127.0.0.1:3000", f"127.0.0.1:{api_port}"),
                     ("/etc/nginx/cardea", str(DOCKER / "gateways")), ("/var/cache/nginx/cardea", f"{folder}/cache"),
                     ("http {\n", f"http {{ access_log off; client_body_temp_path {folder}/body; fastcgi_temp_path"
                      f" {folder}/fcgi; proxy_temp_path {folder}/proxy; scgi_temp_path {folder}/scgi; uwsgi_temp_path"
                      f" {folder}/uwsgi;\n")):
        assert old in text, old
        text = text.replace(old, new)
    (folder / "nginx.conf").write_text(f"daemon off; user root; pid {folder}/pid;\n" + text if os.geteuid() == 0
                                       else f"daemon off; pid {folder}/pid;\n" + text)
    with open(folder / "log", "wb") as log:
        nginx = subprocess.Popen(["/usr/sbin/nginx", "-e", folder / "error.log", "-c", folder / "nginx.conf"],
                                 stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent)
    try:
        def answers():
            assert nginx.poll() is None, (folder / "log").read_text()
            try:
                return http_request(("127.0.0.1", port), "GET", "/things").status == 401
            except OSError:
                return False

        wait_until(answers, "nginx answers")
        for _ in range(2):  # the second time it finds everything
            run_service("demo", site.environment(**settings), folder)
        (folder / "key.json").unlink()  # as if it had been stopped before the key was made
        run_service("demo", site.environment(**settings), folder)
        answer = json.loads(run_service("token", dict(base_environment(), GATEWAY=issuer), folder))
        assert answer["scope"] == "data:read"
        headers = {"Authorization": f"Bearer {answer['access_token']}"}
        assert http_request(("127.0.0.1", port), "GET", "/things", headers=headers).json()["hello"].startswith("key_")

        instances[0].stop()  # the other one goes on, and nobody notices
        for _ in range(10):
            run_service("token", dict(base_environment(), GATEWAY=issuer), folder)
        assert http_request(("127.0.0.1", port), "GET", "/console/").status == 200
    finally:
        nginx.send_signal(signal.SIGQUIT)
        nginx.wait(30)


def test_the_image_is_a_server_and_compose_gives_a_token():
    """All but the compiling: the last stage of the Dockerfile, with the program of a release build."""
    program = ROOT / "build" / "release" / "cardea"
    if not program.exists():
        pytest.skip("needs a binary without sanitizers: cmake --build --preset release")
    text = run_check(DOCKER / "check-image", "--program", program)
    for line in ("size over its base", "token: {", "gateway: 401", "docker run, read-only", "cardea-1: healthy", "done"):
        assert line in text, text


def test_the_whole_image_is_built_without_a_daemon():
    """Both stages of the Dockerfile, with what buildah 1.28 knows of its language."""
    text = run_check(DOCKER / "check-image", "--daemonless")
    for line in ("size over its base", "buildah version 1.28", "done"):
        assert line in text, text
