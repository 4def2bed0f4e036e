"""The description of the interface says what the gateway does, and is where people look for it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema  # type: ignore[import-untyped]  # It has no types of its own.
import pytest
import yaml  # type: ignore[import-untyped]  # It has no types of its own.
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import compile_path
from typer.testing import CliRunner

from gateway.app import ROUTES
from gateway.cli import app as command_line
from gateway.endpoints.health import health
from gateway.error_bodies import Surface, error_object
from gateway.errors import InvalidRequest, MethodNotAllowed, StreamInterrupted, all_errors
from gateway.field_rules import Rule, object_schema
from gateway.middleware.guard import Row
from gateway.openapi import document, failures, text
from gateway.openapi.model import EVENT_STREAM
from gateway.version import VERSION
from tests.architecture.installation import REPOSITORY
from tests.openapi.requests_made import DOCUMENT, operations, resolved

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

EACH = pytest.mark.parametrize("name", operations())
# Shown where they cannot be told of any one operation.
ANYWHERE = {"API_VERSION_GONE", MethodNotAllowed.code}


def conforms(value: Any, schema: dict[str, Any]) -> None:
    """Fail unless a value fits a schema of the document."""
    whole = {**schema, "components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator(whole, format_checker=jsonschema.FormatChecker()).validate(value)


def contents(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return every media type of an operation's answers with its content."""
    for answer in operation["responses"].values():
        yield from resolved(answer).get("content", {}).items()


def test_the_file_in_the_repository_is_current() -> None:
    """Write it anew with: lunarbit openapi > openapi.yaml."""
    assert (REPOSITORY / "openapi.yaml").read_bytes() == text.as_yaml(DOCUMENT), "lunarbit openapi > openapi.yaml"


def test_the_document_is_valid() -> None:
    """By the rules of OpenAPI 3.1, as a library that others wrote knows them."""
    assert list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors()) == []
    assert DOCUMENT["info"]["version"] == VERSION


def test_the_yaml_says_the_same_as_the_json() -> None:
    """A reader of YAML must not take a text for a number, or a yes for true."""
    assert yaml.safe_load(text.as_yaml(DOCUMENT)) == json.loads(text.as_json(DOCUMENT))


@pytest.mark.parametrize(
    "value",
    [
        "no",
        "1.0",
        "null",
        "a: b",
        "",
        "tab\there",
        "two\nlines",
        "# no comment",
        "é☃🙂\u2028\x85\ufeff",
        [],
        {},
        None,
        1.5,
    ],
)
def test_any_value_and_any_key_can_be_written_as_yaml(value: Any) -> None:
    """Descriptions and patterns hold every character that means something to YAML."""
    made = {"key": value, "list": [value, {"nested": [value]}], str(value): True}
    assert yaml.safe_load(text.as_yaml(made)) == made


def test_every_route_is_described_and_nothing_else() -> None:
    """A description that outlives its route would be a promise that nobody keeps."""
    assert {f"{row.method} {row.path}" for row in ROUTES} == set(document.OPERATIONS)


def test_a_route_without_a_description_says_what_to_add() -> None:
    """Whoever adds one reads this first."""
    with pytest.raises(LookupError, match=r"GET /new is not described: add it to OPERATIONS in .*operations_\*\.py"):
        document.build([Row("GET", "/new", health, "public")])


def test_a_rule_without_a_schema_says_what_to_add() -> None:
    """The schemas of bodies are those of the rules that read them."""

    def rule(value: Any) -> Any:
        return value

    rules: dict[str, Rule] = {"field": rule}
    with pytest.raises(LookupError, match=r"rule does not say what it takes: decorate it with field_rules\.takes"):
        object_schema(rules)


def test_operations_have_names_of_their_own() -> None:
    """Generated clients name their functions after them."""
    names = [operation["operationId"] for operation in operations().values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("param", [None, "thread"])
@pytest.mark.parametrize(("surface", "name"), failures.SCHEMAS.items())
def test_errors_are_as_described(surface: Surface, name: str, param: str | None) -> None:
    """With no member more or less, also where Anthropic's packages want to read a code in the details."""
    schema = DOCUMENT["components"]["schemas"][name]
    closed = {**schema, "properties": {"error": {**schema["properties"]["error"], "additionalProperties": False}}}
    conforms(error_object(InvalidRequest("m", param=param), surface, "req_1", "https://x.example"), closed)


def test_every_error_is_listed_and_can_be_answered() -> None:
    """Each code is in the list of all, and stands at an operation unless it is about none or comes inside a stream."""
    codes = {kind.code for kind in all_errors()}
    assert set(DOCUMENT["components"]["schemas"]["ErrorCode"]["enum"]) == codes
    told = {
        code
        for operation in operations().values()
        for _, one in contents(operation)
        for code in one.get("examples", ())
    }
    assert told == codes - ANYWHERE - {StreamInterrupted.code}


@EACH
def test_an_operation_has_examples_that_fit(name: str) -> None:
    """Of its body, of every parameter in its path, and of each way in which it answers."""
    operation = operations()[name]
    if "requestBody" in operation:
        body = operation["requestBody"]["content"]["application/json"]
        conforms(body["example"], body["schema"])
    for parameter in operation["parameters"]:
        if parameter["in"] == "path" or parameter["required"]:
            conforms(parameter["example"], parameter["schema"])
    for media_type, content in contents(operation):
        shown = (
            [content["example"]]
            if "example" in content
            else [resolved(one)["value"] for one in content["examples"].values()]
        )
        assert shown
        # What a schema of a stream describes is each of its events.
        for example in shown if media_type != EVENT_STREAM else ():
            conforms(example, content["schema"])


@EACH
def test_an_operation_says_what_it_takes_and_how_it_fails(name: str) -> None:
    """Whoever needs a key must know of 401 and 403, whoever is counted of 429, and a body can be wrong or too large."""
    (row,) = [row for row in ROUTES if f"{row.method} {compile_path(row.path)[1]}" == name]
    operation = operations()[name]
    statuses = set(operation["responses"])
    assert operation["summary"]
    assert row.access == "public" or statuses >= {"401", "403"}
    assert row.counted == "free" or "429" in statuses
    assert "requestBody" not in operation or statuses >= {"400", "413", "415"}


def test_the_command_prints_the_document() -> None:
    """So that the file is written by one command."""
    runner = CliRunner()
    assert runner.invoke(command_line, ["openapi"]).stdout_bytes == text.as_yaml(DOCUMENT)
    assert json.loads(runner.invoke(command_line, ["openapi", "--json"]).stdout) == json.loads(text.as_json(DOCUMENT))


@pytest.mark.parametrize(
    ("path", "media_type"), [("/openapi.json", "application/json"), ("/openapi.yaml", "application/yaml")]
)
async def test_the_document_is_served_and_kept(client: httpx.AsyncClient, path: str, media_type: str) -> None:
    """Without a key and without counting; who has it already is told so."""
    answer = await client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == media_type
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert yaml.safe_load(answer.text) == json.loads(text.as_json(DOCUMENT))
    assert "x-ratelimit-limit" not in answer.headers
    again = await client.get(path, headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert (await client.get(f"/api/v2{path}")).content == answer.content
