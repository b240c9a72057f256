# SPDX-License-Identifier: Apache-2.0
"""The examples of docker/clients/, run as they are printed."""
import os
import re
import subprocess

import jwt
import pytest
from conftest import ROOT, base_environment, free_port
from test_gateways import running_api

CLIENTS = ROOT / "docker" / "clients"
COMMANDS = {
    "curl.sh": ["bash"],
    "authlib_client.py": ["/usr/bin/python3"],
    "requests_oauthlib_client.py": ["/usr/bin/python3"],
    "node.mjs": ["node"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_client_gets_a_token_and_calls_an_api(site, name, tmp_path):
    instance = site.start()
    key = site.demo()
    credentials = tmp_path / "credentials"
    credentials.write_text(f'user = "{key["key_id"]}:{key["secret"]}"\n')
    with running_api() as port:
        # Both Python libraries insist on https; on loopback, for a test, this is how they are told.
        environment = dict(base_environment(), ISSUER=instance.url, API=f"http://127.0.0.1:{port}",
                           KEY_ID=key["key_id"], KEY_SECRET=key["secret"], CREDENTIALS=str(credentials),
                           AUTHLIB_INSECURE_TRANSPORT="1", OAUTHLIB_INSECURE_TRANSPORT="1", no_proxy="127.0.0.1")
        done = subprocess.run([*COMMANDS[name], CLIENTS / name], env=environment, capture_output=True, text=True,
                              timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done
    token = re.search(r'"authorization": "Bearer (\S+)"', done.stdout)
    assert token, done
    claims = jwt.decode(token[1], options={"verify_signature": False})
    assert claims["client_id"] == key["key_id"] and claims["scope"] == "data:read"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_client_fails_with_a_wrong_secret(site, name, tmp_path):
    instance = site.start()
    key = site.demo()
    credentials = tmp_path / "credentials"
    credentials.write_text(f'user = "{key["key_id"]}:wrong"\n')
    with running_api() as port:
        environment = dict(base_environment(), ISSUER=instance.url, API=f"http://127.0.0.1:{port}",
                           KEY_ID=key["key_id"], KEY_SECRET="wrong", CREDENTIALS=str(credentials),
                           AUTHLIB_INSECURE_TRANSPORT="1", OAUTHLIB_INSECURE_TRANSPORT="1", no_proxy="127.0.0.1")
        done = subprocess.run([*COMMANDS[name], CLIENTS / name], env=environment, capture_output=True, text=True,
                              timeout=120, cwd=tmp_path)
    assert done.returncode != 0, done
    assert "invalid_client" in done.stdout + done.stderr or "401" in done.stderr, done


@pytest.mark.parametrize("name", COMMANDS)
def test_a_client_without_a_token_does_not_call_the_api(name, tmp_path):
    (tmp_path / "credentials").write_text('user = "key_x:y"\n')
    with running_api() as port:
        environment = dict(base_environment(), ISSUER=f"http://127.0.0.1:{free_port()}", API=f"http://127.0.0.1:{port}",
                           KEY_ID="key_x", KEY_SECRET="y", CREDENTIALS=str(tmp_path / "credentials"),
                           AUTHLIB_INSECURE_TRANSPORT="1", OAUTHLIB_INSECURE_TRANSPORT="1", no_proxy="127.0.0.1")
        done = subprocess.run([*COMMANDS[name], CLIENTS / name], env=environment, capture_output=True, text=True,
                              timeout=120, cwd=tmp_path)
    assert done.returncode != 0 and "the api answers" not in done.stdout, done


def test_all_examples_are_run():
    assert {path.name for path in CLIENTS.iterdir()} - {"README.md"} == set(COMMANDS)
    listed = re.findall(r"\]\((\S+)\)", (CLIENTS / "README.md").read_text())
    assert sorted(listed) == sorted(COMMANDS)
    assert all(os.path.getsize(CLIENTS / name) < 1200 for name in COMMANDS), "short enough to read"
