# SPDX-License-Identifier: Apache-2.0
"""What the tests of the management API share: principals of every kind, and openapi.json as the yardstick of each
answer. The description has every route (test_api_routes.c holds it against the table), so tests generated from it
forget none."""
import base64
import itertools
import json
import re
import time
import urllib.parse
from datetime import datetime, timedelta, timezone

from conftest import http_request, wait_until

METHODS = ("get", "put", "post", "patch", "delete")
numbers = itertools.count(1)


def later(**delta):
    """An RFC 3339 time from now."""
    return (datetime.now(timezone.utc) + timedelta(**delta)).strftime("%Y-%m-%dT%H:%M:%SZ")


def claims_of(token):
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def etag(answer):
    return answer.header("ETag")


def fields_of(answer):
    """The fields that a 422 names."""
    assert answer.status == 422, answer
    return {error["field"] for error in answer.json()["errors"]}


class Operation:
    def __init__(self, path, method, text):
        self.path, self.method, self.text = path, method.upper(), text
        self.id = text["operationId"]

    @property
    def scopes(self):
        """Management scopes that open it; None: no management token is asked for."""
        listed = [scope for item in self.text["security"] for scope in item.get("management", [])]
        return set(listed) or None

    def status_of_success(self):
        return {int(status) for status in self.text["responses"] if status.startswith("2")}


class Description:
    """openapi.json, and answers held against it."""

    def __init__(self, text):
        self.text = text
        self.operations = {op.id: op for path, item in text["paths"].items() for method, value in item.items()
                           for op in [Operation(path, method, value)]}

    def resolve(self, value):
        while "$ref" in value:
            root, *parts = value["$ref"].split("/")
            assert root == "#", value
            value = self.text
            for part in parts:
                value = value[part.replace("~1", "/").replace("~0", "~")]
        return value

    def body_example(self, operation):
        content = self.resolve(operation.text["requestBody"])["content"]
        media = next(iter(content))
        return media, content[media]["example"]

    def find(self, method, path):
        """The operation of a request; None for what is not described."""
        path = urllib.parse.unquote(path.partition("?")[0])
        for operation in self.operations.values():
            pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(operation.path))
            if operation.method == method and re.fullmatch(pattern, path):
                return operation
        return None

    def check(self, method, path, answer):
        """The answer is one that the description promises."""
        operation = self.find(method, path)
        if operation is None:
            return
        responses = operation.text["responses"]
        where = f"{method} {path}: {answer}"
        if str(answer.status) not in responses:
            assert answer.status in (405, 408, 414, 417, 421, 431, 500, 501, 505), f"undocumented: {where}"
        response = self.resolve(responses.get(str(answer.status), responses["default"]))
        for name in response.get("headers", {}):
            if not (answer.status == 304 or name == "Retry-After"):
                assert answer.header(name) is not None, f"no {name}: {where}"
        if not answer.body:
            assert "content" not in response, where
            return
        assert answer.header("Content-Type") in response["content"], where
        schema = response["content"][answer.header("Content-Type")]["schema"]
        self.validate(answer.json(), schema, where)

    # JSON Schema, as far as the description uses it.

    def validate(self, value, schema, where):
        schema = self.resolve(schema)
        for part in schema.get("allOf", []):
            self.validate(value, part, where)
        types = schema.get("type")
        if types is not None:
            types = [types] if isinstance(types, str) else types
            assert any(is_type(value, name) for name in types), f"{value!r} is no {types}: {where}"
        assert "enum" not in schema or value in schema["enum"], f"{value!r}: {where}"
        assert "const" not in schema or value == schema["const"], f"{value!r}: {where}"
        if isinstance(value, str):
            assert len(value) >= schema.get("minLength", 0), f"{value!r}: {where}"
            assert len(value) <= schema.get("maxLength", len(value)), f"{value!r}: {where}"
            assert re.search(schema.get("pattern", ""), value), f"{value!r}: {where}"
            if schema.get("format") == "date-time":
                datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ")
        if isinstance(value, list):
            assert len(value) >= schema.get("minItems", 0), f"{value!r}: {where}"
            assert len(value) <= schema.get("maxItems", len(value)), f"{value!r}: {where}"
            for item in value:
                self.validate(item, schema.get("items", {}), where)
        if isinstance(value, dict):
            missing = set(schema.get("required", [])) - set(value)
            assert not missing, f"{missing} missing: {where}"
            properties, more = schema.get("properties", {}), schema.get("additionalProperties", {})
            for name, item in value.items():
                inner = properties.get(name, more)
                assert inner is not False, f"{name} is not described: {where}"
                self.validate(item, inner if isinstance(inner, dict) else {}, where)


def is_type(value, name):
    return {"object": isinstance(value, dict), "array": isinstance(value, list), "string": isinstance(value, str),
            "boolean": isinstance(value, bool), "null": value is None,
            "integer": isinstance(value, int) and not isinstance(value, bool),
            "number": isinstance(value, (int, float)) and not isinstance(value, bool)}[name]


class Api:
    """The management API as one principal sees it. Every answer is held against the description."""

    def __init__(self, world, token, address=None):
        self.world, self.token, self.address = world, token, address or world.server.address

    def call(self, method, path, body=None, media=None, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token is not None:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        if body is not None:
            headers["Content-Type"] = media or ("application/merge-patch+json" if method == "PATCH"
                                                else "application/json")
        text = body if body is None or isinstance(body, (str, bytes)) else json.dumps(body)
        answer = http_request(self.address, method, path, text, headers)
        self.world.description.check(method, path, answer)
        return answer

    def get(self, path, **headers):
        return self.call("GET", path, **headers)

    def post(self, path, body=None, **headers):
        return self.call("POST", path, body, **headers)

    def put(self, path, body, **headers):
        return self.call("PUT", path, body, **headers)

    def patch(self, path, body, **headers):
        return self.call("PATCH", path, body, **headers)

    def delete(self, path, **headers):
        return self.call("DELETE", path, **headers)

    def made(self, path, body, **headers):
        """The object that a POST made."""
        answer = self.post(path, body, **headers)
        assert answer.status == 201, answer
        return answer.json()


class World:
    """One server and its principals: acme's admins, others, and the platform's."""

    def __init__(self, site, **settings):
        self.site = site
        site.tenant("acme")
        site.tenant("other")
        site.tenant("ops")
        site.scopes("data:read", "data:write")
        self.keys = {
            "api": site.key("acme", ["data:read"], name="an API key"),
            "read": site.key("acme", ["cardea.read"], name="reader"),
            "admin": site.key("acme", ["cardea.admin"], name="admin"),
            "stranger": site.key("other", ["cardea.admin"], name="admin of other"),
            "platform": site.key("ops", ["cardea.platform"], name="platform"),
        }
        self.server = site.start(**settings)
        self.description = Description(self.server.get("/openapi.json").json())
        for name, key in self.keys.items():
            setattr(self, name, Api(self, self.server.access_token(key)))
        self.anonymous = Api(self, None)

    def path(self, key=None, suffix="", tenant="acme"):
        return f"/v1/tenants/{tenant}/keys" + (f"/{key if isinstance(key, str) else key['key_id']}" if key else "") + suffix

    def new_key(self, api=None, tenant="acme", **fields):
        """A key with an API scope, expiring in 90 days."""
        body = {"name": f"key {next(numbers)}", "scopes": ["data:read"], "expires_at": later(days=90), **fields}
        return (api or self.platform).made(self.path(tenant=tenant), body)

    def expired_token(self):
        """Of an admin key that is alive and well again."""
        key = self.new_key(scopes=["cardea.admin"], expires_at=later(seconds=3))
        token = self.server.access_token(key)
        wait_until(lambda: time.time() > claims_of(token)["exp"], "the token has expired")
        answer = self.platform.patch(self.path(key), {"expires_at": later(days=1)})
        assert answer.status == 200 and answer.json()["status"] == "active", answer
        return token

    def disabled_token(self):
        """Of an admin key that was disabled the moment before."""
        key = self.new_key(scopes=["cardea.admin"])
        token = self.server.access_token(key)
        assert self.platform.patch(self.path(key), {"enabled": False}).status == 200
        return token

    def deleted_token(self):
        key = self.new_key(scopes=["cardea.admin"])
        token = self.server.access_token(key)
        assert self.platform.delete(self.path(key)).status == 204
        return token

    def works(self, key, secret=None):
        """Does the secret get a token?"""
        answer = self.server.token(dict(key, secret=secret or key["secret"]))
        assert answer.status in (200, 401), answer
        return answer.status == 200

    def audit(self, tenant="acme", **wanted):
        """All entries of a tenant with these members, newest first."""
        found, cursor = [], ""
        while cursor is not None:
            page = self.platform.get(f"/v1/tenants/{tenant}/audit?limit=200" + (f"&cursor={cursor}" if cursor else ""))
            found += page.json()["items"]
            cursor = page.json()["next_cursor"]
        return [entry for entry in found if all(entry[name] == value for name, value in wanted.items())]

    def count(self, table):
        return self.site.sql(f"SELECT count(*) FROM {table}")[0][0]
