# SPDX-License-Identifier: Apache-2.0
"""openapi.json is a valid OpenAPI 3.1 description whose examples fit its schemas. Checked by hand, since Debian has no
validator for 3.1; that it has each route and no other is checked beside the route table (test_api_routes.c), and that
the server's answers fit it by every call of management.Api."""
import json
import pathlib
import re

import pytest
from conftest import new_site
from management import METHODS, Description

PATH = pathlib.Path(__file__).parents[2] / "server/api/openapi.json"


def no_duplicates(pairs):
    names = [name for name, _ in pairs]
    assert len(names) == len(set(names)), names
    return dict(pairs)


@pytest.fixture(scope="module")
def text():
    return json.loads(PATH.read_text(), object_pairs_hook=no_duplicates)


@pytest.fixture(scope="module")
def description(text):
    return Description(text)


def walk(value, path="#"):
    yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        yield from walk(item, f"{path}/{name}")


def only(value, allowed, required=(), where=""):
    assert isinstance(value, dict), where
    assert set(required) <= set(value), f"{where}: {set(required) - set(value)} missing"
    unknown = {name for name in value if not name.startswith("x-")} - set(allowed)
    assert not unknown, f"{where}: {unknown} does not belong here"


def test_root(text):
    only(text, {"openapi", "info", "servers", "tags", "paths", "components"}, {"openapi", "info", "paths"})
    assert re.fullmatch(r"3\.1\.\d+", text["openapi"])
    only(text["info"], {"title", "version", "summary", "description", "license", "contact"}, {"title", "version"})
    only(text["info"]["license"], {"name", "identifier"}, {"name"})
    only(text["components"], {"schemas", "responses", "parameters", "headers", "securitySchemes"})
    for kind, objects in text["components"].items():
        for name in objects:
            assert re.fullmatch(r"[A-Za-z0-9._-]+", name), (kind, name)


def test_references(text, description):
    used = set()
    for path, value in walk(text):
        if isinstance(value, dict) and "$ref" in value:
            assert set(value) == {"$ref"}, path
            used.add(value["$ref"])
            description.resolve(value)
    there = {f"#/components/{kind}/{name}" for kind, objects in text["components"].items() for name in objects
             if kind != "securitySchemes"}
    assert there == used, "defined and never used, or the other way round"


def test_operations(text, description):
    ids = [operation.id for operation in description.operations.values()]
    assert len(ids) == len(set(ids)) == sum(len(item) for item in text["paths"].values())
    tags = {tag["name"] for tag in text["tags"]}
    for path, item in text["paths"].items():
        assert path.startswith("/") and set(item) <= set(METHODS), path
        for method, operation in item.items():
            where = f"{method} {path}"
            only(operation, {"operationId", "summary", "description", "tags", "security", "parameters", "requestBody", "responses"},
                 {"operationId", "summary", "tags", "security", "responses"}, where)
            assert set(operation["tags"]) <= tags
            check_parameters(description, path, operation)
            for status, response in operation["responses"].items():
                assert re.fullmatch(r"[1-5]\d\d|default", status), where
                check_response(description, response, f"{where} {status}")
            if "requestBody" in operation:
                assert method in ("post", "put", "patch"), where
                only(operation["requestBody"], {"description", "content", "required"}, {"content"}, where)
                check_content(description, operation["requestBody"]["content"], where)
    names = {name for operation in description.operations.values() for item in operation.text["security"] for name in item}
    assert names == set(text["components"]["securitySchemes"])


def check_parameters(description, path, operation):
    parameters = [description.resolve(item) for item in operation.get("parameters", [])]
    for parameter in parameters:
        only(parameter, {"name", "in", "description", "required", "schema", "example"}, {"name", "in", "schema", "example"}, path)
        assert parameter["in"] in ("path", "query", "header")
        assert parameter["in"] != "path" or parameter["required"] is True
        assert parameter["in"] != "header" or parameter["name"] not in ("Accept", "Content-Type", "Authorization")
        description.validate(parameter["example"], parameter["schema"], f"{path}: {parameter['name']}")
    places = [(parameter["in"], parameter["name"]) for parameter in parameters]
    assert len(places) == len(set(places))
    assert {name for place, name in places if place == "path"} == set(re.findall(r"\{(\w+)\}", path)), path


def check_response(description, response, where):
    response = description.resolve(response)
    only(response, {"description", "headers", "content"}, {"description"}, where)
    for name, header in response.get("headers", {}).items():
        header = description.resolve(header)
        only(header, {"description", "schema", "example", "required"}, {"schema", "example"}, where)
        description.validate(header["example"], header["schema"], f"{where}: {name}")
    check_content(description, response.get("content", {}), where)


def check_content(description, content, where):
    for media, value in content.items():
        assert re.fullmatch(r"[a-z]+/[a-z0-9+.-]+", media), where
        only(value, {"schema", "example", "examples"}, {"schema"}, where)
        assert not ("example" in value and "examples" in value), where
        examples = [value["example"]] if "example" in value else [item["value"] for item in value.get("examples", {}).values()]
        assert examples or value["schema"] == {"type": "object"}, f"{where}: no example"
        for example in examples:
            description.validate(example, value["schema"], where)
            if media == "application/problem+json" and re.fullmatch(r".* \d\d\d", where):
                assert example["status"] == int(where[-3:]), where


KEYWORDS = {"type", "description", "properties", "required", "additionalProperties", "items", "enum", "const", "default", "format",
            "pattern", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems", "uniqueItems", "allOf", "examples"}
TYPES = {"object", "array", "string", "integer", "boolean", "null"}


def check_schema(description, schema, where):
    if "$ref" in schema:
        return
    only(schema, KEYWORDS, (), where)
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    assert set(types) <= TYPES, where
    re.compile(schema.get("pattern", ""))
    properties = schema.get("properties", {})
    assert set(schema.get("required", [])) <= set(properties), f"{where}: requires what is not there"
    for name, inner in properties.items():
        check_schema(description, inner, f"{where}/{name}")
    for inner in schema.get("allOf", []) + [schema[name] for name in ("items", "additionalProperties") if name in schema]:
        if not isinstance(inner, bool):
            check_schema(description, inner, where)
    for example in schema.get("examples", []):
        description.validate(example, schema, where)


def test_schemas(text, description):
    for name, schema in text["components"]["schemas"].items():
        check_schema(description, schema, name)


def test_security(text):
    for name, scheme in text["components"]["securitySchemes"].items():
        assert scheme["type"] in ("http", "oauth2"), name
    flow = text["components"]["securitySchemes"]["management"]["flows"]["clientCredentials"]
    only(flow, {"tokenUrl", "scopes", "refreshUrl"}, {"tokenUrl", "scopes"})
    assert set(flow["scopes"]) == {"cardea.admin", "cardea.read", "cardea.platform"}
    assert flow["tokenUrl"] in text["paths"]


def test_validator_if_there_is_one(text):
    """The OpenAPI Initiative's schema, where a newer Debian or the developer has it."""
    pytest.importorskip("openapi_spec_validator").validate(text)


def test_served(server):
    with new_site(server) as site:
        instance = site.start()
        answer = instance.get("/openapi.json")
        assert answer.status == 200 and answer.body == PATH.read_bytes()
        assert answer.header("Content-Type") == "application/json"
        assert answer.header("Cache-Control") == "public, max-age=300"
        for value, status in (answer.header("ETag"), 304), (f'"x", W/{answer.header("ETag")}', 304), ('"x"', 200), ("*", 304):
            again = instance.get("/openapi.json", If_None_Match=value)
            assert again.status == status and (again.body == b"") is (status == 304)
            assert again.header("ETag") == answer.header("ETag")
