# SPDX-License-Identifier: Apache-2.0
"""Every route of the management API with every kind of principal, generated from openapi.json: a new route is in
here, or the tests fail. Then the walls between tenants, byte for byte."""
import json
import pathlib

import pytest
from conftest import free_port, http_request, new_site, raw_exchange, split_responses
from management import Api, World, numbers

TEXT = json.loads((pathlib.Path(__file__).parents[2] / "server/api/openapi.json").read_text())
OPERATIONS = [(value["operationId"], method.upper(), path) for path, item in TEXT["paths"].items()
              for method, value in item.items()]
MANAGEMENT = [(name, method, path) for name, method, path in OPERATIONS if path.startswith("/v1/")]
PRINCIPALS = ["anonymous", "api", "read", "admin", "stranger", "platform", "expired", "disabled", "deleted"]


@pytest.fixture(scope="module")
def world(server):
    with new_site(server) as site:
        world = World(site)
        world.expired = Api(world, world.expired_token())
        yield world


def principal(world, name):
    if name in ("disabled", "deleted"):  # a moment ago, each time
        return Api(world, getattr(world, name + "_token")())
    return getattr(world, name)


def fill(world, path):
    """The path of an operation with objects that exist, fresh ones: the request may delete them."""
    number = next(numbers)
    if "{key_id}" in path:
        path = path.replace("{key_id}", world.new_key()["key_id"])
    if path.startswith("/v1/tenants/{tenant}/"):
        path = path.replace("{tenant}", "acme")
    if "{tenant}" in path:
        world.platform.made("/v1/tenants", {"id": f"t{number}", "name": "T"})
        path = path.replace("{tenant}", f"t{number}")
    if "{name}" in path:
        assert world.platform.put(f"/v1/scopes/s{number}", {"title": "S"}).status == 201
        path = path.replace("{name}", f"s{number}")
    assert "{" not in path, "a new kind of parameter: say here how to fill it"
    return path


def body_for(world, name):
    operation = world.description.operations[name]
    if "requestBody" not in operation.text:
        return None, None
    media, example = world.description.body_example(operation)
    if name == "tenants.create":
        example = dict(example, id=f"u{next(numbers)}")
    return media, example


def request(world, api, name, method, path):
    media, body = body_for(world, name)
    return api.call(method, path, body, media)


def expected(operation, who):
    """Statuses, from the description alone."""
    scopes = operation.scopes
    of_a_tenant = operation.path.startswith("/v1/tenants/{tenant}/")
    holds = {"read": "cardea.read", "admin": "cardea.admin", "stranger": "cardea.admin", "platform": "cardea.platform"}
    if who not in holds:
        return {401}
    if who == "stranger" and of_a_tenant:
        return {404}
    return operation.status_of_success() if holds[who] in scopes else {403}


def test_every_route_asks_for_a_token(world):
    for operation in world.description.operations.values():
        assert (operation.scopes is not None) == operation.path.startswith("/v1/"), operation.path


@pytest.mark.parametrize("who", PRINCIPALS)
@pytest.mark.parametrize("name,method,path", MANAGEMENT, ids=[name for name, _, _ in MANAGEMENT])
def test_matrix(world, name, method, path, who):
    operation = world.description.operations[name]
    path = fill(world, path)
    api = principal(world, who)
    before = world.count("audit")
    answer = request(world, api, name, method, path)
    assert answer.status in expected(operation, who), answer
    assert answer.header("Cache-Control") == "no-store"
    if answer.status == 401:
        challenge = 'Bearer realm="cardea"' + (', error="invalid_token"' if who != "anonymous" else "")
        assert answer.header("WWW-Authenticate") == challenge
    if answer.status == 403:
        assert 'error="insufficient_scope"' in answer.header("WWW-Authenticate")
    under_way = name == "signing_keys.rotate" and answer.status == 200
    changes = method != "GET" and answer.status < 300 and not under_way
    assert world.count("audit") - before == (1 if changes else 0)


WITH_BODY = [row for row in MANAGEMENT if row[1] not in ("GET", "DELETE")]


@pytest.mark.parametrize("name,method,path", WITH_BODY, ids=[name for name, _, _ in WITH_BODY])
def test_rights_go_before_the_body(world, name, method, path):
    """What is wrong with a body is for those to know who may send one."""
    path = fill(world, path)
    for who, status in ("anonymous", 401), ("read", 403):
        for media in "application/json", "text/plain":
            assert getattr(world, who).call(method, path, "{", media).status == status


OF_TENANT = [row for row in MANAGEMENT if row[2].startswith("/v1/tenants/{tenant}/")]


@pytest.mark.parametrize("name,method,path", OF_TENANT, ids=[name for name, _, _ in OF_TENANT])
def test_another_tenants_object_is_like_none(world, name, method, path):
    """Byte for byte: what is acme's, what is nobody's, and what is in no tenant."""
    mine = fill(world, path)
    key_id = mine.split("/")[5] if "{key_id}" in path else "-"
    answers = [request(world, world.stranger, name, method, target) for target in (
        mine, mine.replace(key_id, "key_" + "a" * 24), mine.replace(key_id, "nonsense"),
        mine.replace("/acme/", "/nowhere/"), mine.replace("/acme/", "/-/"), mine.replace("/acme/", "/ACME/"))]
    assert {answer.status for answer in answers} == {404}
    assert len({repr(answer.stable()) for answer in answers}) == 1
    if "{key_id}" in path:  # in its own tenant too, acme's key is like none
        own = mine.replace("/acme/", "/other/")
        assert request(world, world.stranger, name, method, own).stable() == answers[0].stable()
        missing = own.replace(key_id, "key_" + "a" * 24)
        assert request(world, world.stranger, name, method, missing).stable() == answers[0].stable()


def test_decoy_is_nobodys(world):
    """The rows that unknown IDs lead to at the token endpoint."""
    for path in "/v1/tenants/-", "/v1/tenants/-/keys", "/v1/tenants/-/keys/-", "/v1/tenants/acme/keys/-":
        assert world.platform.get(path).status == 404
    assert "-" not in [tenant["id"] for tenant in world.platform.get("/v1/tenants?limit=200").json()["items"]]


def test_head(world):
    for path in "/v1/tenants/acme/keys", "/openapi.json":
        full, head = world.admin.get(path), world.server.request(
            "HEAD", path, headers={"Authorization": f"Bearer {world.admin.token}"})
        assert head.status == full.status == 200
        assert head.body == b""
        assert head.header("Content-Length") == full.header("Content-Length")


def test_methods(world):
    for path in {path for _, _, path in MANAGEMENT}:
        allowed = {method.upper() for method in TEXT["paths"][path]}
        for method in {"GET", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"} - allowed:
            answer = world.platform.call(method, fill(world, path))
            assert answer.status == 405
            assert set(answer.header("Allow").split(", ")) == allowed | ({"HEAD"} if "GET" in allowed else set())
            assert answer.header("Content-Type") == "application/problem+json"


BROKEN = {
    "escape in the query": ("GET /v1/tenants/acme/keys?q=%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "NUL in the query": ("GET /v1/scopes?q=%00 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "encoded slash": ("GET /v1/scopes/a%2Fb HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "no host": ("GET /v1/scopes HTTP/1.1\r\n\r\n", 400),
    "long target": (f"GET /v1/scopes?q={'x' * 9000} HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    "large headers": (f"GET /v1/scopes HTTP/1.1\r\nHost: x\r\nX: {'x' * 17000}\r\n\r\n", 431),
    "expectation": ("GET /v1/scopes HTTP/1.1\r\nHost: x\r\nExpect: x\r\n\r\n", 417),
    "transfer coding": ("POST /v1/tenants HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    "version": ("GET /v1/scopes HTTP/2.0\r\nHost: x\r\n\r\n", 505),
}


@pytest.mark.parametrize("case", BROKEN)
def test_errors_of_http_are_problems_too(world, case):
    data, status = BROKEN[case]
    answer, = split_responses(raw_exchange(world.server.address, data.encode()))
    assert answer.status == status and answer.header("Content-Type") == "application/problem+json"
    assert answer.json()["status"] == status and answer.json()["detail"]
    elsewhere, = split_responses(raw_exchange(world.server.address, data.replace("/v1/", "/v2/").encode()))
    assert elsewhere.status == status and elsewhere.header("Content-Type") == "application/json"
    assert elsewhere.json()["error"] == "invalid_request"


def test_token_of_a_narrower_scope(world):
    """A token has the rights that it was asked for, not all of its key's."""
    key = world.new_key(scopes=["cardea.admin", "cardea.read"])
    narrow = Api(world, world.server.access_token(key, scope="cardea.read"))
    assert narrow.get(world.path()).status == 200
    assert narrow.post(world.path(), {}).status == 403


def test_rights_are_cut_when_the_key_loses_them(world):
    key = world.new_key(scopes=["cardea.admin", "cardea.read"])
    admin = Api(world, world.server.access_token(key))
    assert world.platform.patch(world.path(key), {"scopes": ["cardea.read"]}).status == 200
    assert admin.get(world.path()).status == 200
    assert admin.post(world.path(), {}).status == 403
    assert world.platform.patch(world.path(key), {"scopes": ["data:read"]}).status == 200
    assert admin.get(world.path()).status == 403


def test_disabled_tenant(world):
    world.platform.made("/v1/tenants", {"id": "closing", "name": "C"})
    key = world.new_key(tenant="closing", scopes=["cardea.admin"])
    admin = Api(world, world.server.access_token(key))
    assert admin.get(world.path(tenant="closing")).status == 200
    assert world.platform.patch("/v1/tenants/closing", {"enabled": False}).status == 200
    assert admin.get(world.path(tenant="closing")).status == 401
    assert not world.works(key)
    assert world.platform.patch("/v1/tenants/closing", {"enabled": True}).status == 200
    assert admin.get(world.path(tenant="closing")).status == 200
    assert world.works(key)


def test_key_that_expires(world):
    key = world.new_key(scopes=["cardea.admin"])
    admin = Api(world, world.server.access_token(key))
    assert world.platform.patch(world.path(key), {"expires_at": "2020-01-01T00:00:00Z"}).status == 200
    assert admin.get(world.path()).status == 401
    assert not world.works(key)


def test_allowed_addresses_hold_here_too(world):
    key = world.new_key(scopes=["cardea.admin"])
    admin = Api(world, world.server.access_token(key))
    assert world.platform.patch(world.path(key), {"allowed_cidrs": ["192.0.2.0/24"]}).status == 200
    assert admin.get(world.path()).status == 401


@pytest.mark.parametrize("header", ["Basic a2V5OnNlY3JldA==", "Bearer", "Bearer x", "Bearer a b", "bearer .", "Bearer ä",
                                    "Negotiate abc", "Bearer " + "x" * 9000])
def test_odd_authorization(world, header):
    answer = world.server.request("GET", world.path(), headers={"Authorization": header.encode()})
    assert answer.status == 401, answer
    assert answer.header("Content-Type") == "application/problem+json"


def test_token_in_another_place(world):
    """RFC 6750 knows other places; a URL ends up in logs, so ours knows none."""
    assert world.anonymous.get(f"{world.path()}?access_token={world.admin.token}").status == 401


def test_tampered_token(world):
    head, payload, signature = world.admin.token.split(".")
    for token in (f"{head}.{payload}.", f"{head}.{payload}", f".{payload}.{signature}", f"{head}..{signature}",
                  f"{head}.{payload}.{'A' * len(signature)}", f"{payload}.{payload}.{signature}",
                  f"{head}.{world.stranger.token.split('.')[1]}.{signature}"):
        assert Api(world, token).get(world.path()).status == 401


def test_listener_of_its_own(server):
    """CARDEA_MANAGEMENT_LISTEN: the public address knows nothing of the management, and the other one has tokens."""
    with new_site(server) as site:
        port = free_port()
        site.tenant("acme")
        key = site.key("acme", ["cardea.admin"])
        instance = site.start(MANAGEMENT_LISTEN=f"127.0.0.1:{port}")
        inside = ("127.0.0.1", port)
        token = instance.access_token(key)
        headers = {"Authorization": f"Bearer {token}"}
        for path in "/v1/tenants/acme/keys", "/console/", "/openapi.json", "/v1/scopes":
            assert instance.request("GET", path, headers=headers).status == 404
            assert http_request(inside, "GET", path, headers=headers).status == 200
        for path in "/metrics", "/livez", "/readyz":
            assert instance.get(path).status == 404
            assert http_request(inside, "GET", path).status == 404
        form = "grant_type=client_credentials&client_id=" + key["key_id"] + "&client_secret=" + key["secret"]
        assert http_request(inside, "POST", "/oauth2/token", form,
                            {"Content-Type": "application/x-www-form-urlencoded"}).status == 200
