# SPDX-License-Identifier: Apache-2.0
"""Bytes with a hidden second request, over real sockets: none of them is ever answered."""
import socket
import time

import pytest
import smuggling_cases
from conftest import new_site, raw_exchange, split_responses


@pytest.fixture(scope="module")
def instance(server):
    with new_site(server) as site:
        yield site.start(WORKERS="1")


def case_id(case):
    return case["name"].replace(" ", "-")


def answers_of(case, data):
    """A HEAD comes first in a case that has one; its answer has no body."""
    return split_responses(data, (0,) if case["raw"].startswith(b"HEAD") else ())


def test_there_are_enough():
    assert len(smuggling_cases.REFUSED) >= 60
    assert len({case["name"] for case in smuggling_cases.REFUSED}) == len(smuggling_cases.REFUSED)


@pytest.mark.parametrize("case", smuggling_cases.REFUSED, ids=case_id)
def test_refused(instance, case):
    """Exactly one answer, then the end of the stream."""
    answers = split_responses(instance.raw(case["raw"]))
    assert len(answers) == 1, answers
    assert answers[0].status in case["status"], answers
    assert answers[0].header("Connection") == "close"
    assert answers[0].header("Cache-Control") == "no-store"
    is_problem = answers[0].header("Content-Type") == "application/problem+json"  # the target begins with /v1/
    assert answers[0].json()["detail" if is_problem else "error"]


@pytest.mark.parametrize("case", smuggling_cases.ACCEPTED, ids=case_id)
def test_accepted(instance, case):
    answers = answers_of(case, instance.raw(case["raw"]))
    assert [answer.status for answer in answers] == case["statuses"], answers


def exchange_in_pieces(address, data, size):
    """Each piece in a packet of its own."""
    with socket.create_connection(address, timeout=30) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for at in range(0, len(data), size):
                sock.sendall(data[at:at + size])
                time.sleep(0.0002)  # lets the other side run: without it the kernel joins the pieces
        except (BrokenPipeError, ConnectionResetError):
            pass
        received = b""
        while piece := sock.recv(65536):
            received += piece
        return received


@pytest.mark.parametrize("size", [1, 7])
def test_refused_in_pieces(instance, size):
    """How bytes are cut into packets changes nothing."""
    for case in smuggling_cases.REFUSED:
        if len(case["raw"]) > 2000:
            continue
        answers = split_responses(exchange_in_pieces(instance.address, case["raw"], size))
        assert len(answers) == 1 and answers[0].status in case["status"], (case["name"], answers)


def test_accepted_in_pieces(instance):
    for case in smuggling_cases.ACCEPTED:
        answers = answers_of(case, exchange_in_pieces(instance.address, case["raw"], 3))
        assert [answer.status for answer in answers] == case["statuses"], (case["name"], answers)


def test_refused_on_the_operations_listener(instance):
    for case in smuggling_cases.REFUSED:
        answers = split_responses(raw_exchange(instance.ops_address, case["raw"]))
        assert len(answers) == 1 and answers[0].status >= 400, (case["name"], answers)


def test_the_server_is_unharmed(instance):
    assert instance.get("/.well-known/jwks.json").status == 200
    assert instance.ops("/readyz").status == 200
