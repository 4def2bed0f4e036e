"""Requests that schemathesis makes from the description, with the admin key and without one.

No answer may be 5xx, have a status, header, media type or shape that the description does not have, and without a key
nothing may answer but what is said to be open. Each operation gets `EXAMPLES` requests that the description allows or
forbids, the same ones in every run.
"""

from __future__ import annotations

import copy
import os
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from requests.structures import CaseInsensitiveDict
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi import checks

from tests.openapi.requests_made import DOCUMENT, MADE

if TYPE_CHECKING:
    from schemathesis import Case

    from tests.openapi.requests_made import Asked

pytestmark = pytest.mark.slow

EXAMPLES = 250 if os.environ.get("LUNARBIT_TEST_FULL") == "1" else 25
CREDENTIALS = ("authorization", "x-api-key")
CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.unsupported_method,
    checks.allow_header_conformance,
]


# What a parameter holds may lead out of the route, where nothing answers anybody.
NOWHERE = "There is nothing at this path"
# One bad entry of its list is answered with its own error.
LENIENT = {("POST", "/update/check")}


def closed(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with answers that may have no other fields than it names, so that none goes unsaid."""
    strict = copy.deepcopy(document)
    for name in _ours(strict):
        schema = strict["components"]["schemas"][name]
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return strict


def _ours(document: dict[str, Any]) -> set[str]:
    """Return the schemas of the gateway's own answers; models' answers have what providers put there."""
    open_ones = {"Usage", "Completion", "CompletionMessage", "CompletionChoice", "Message", "MessageUsage"}
    open_ones |= {"ResponseObject", "ResponseUsage"}
    sent = {"CompletionRequest", "MessagesRequest", "TokenCountRequest", "ResponseRequest", "GithubDelivery"}
    return set(document["components"]["schemas"]) - open_ones - sent


SCHEMA = schemathesis.openapi.from_dict(closed(DOCUMENT), config=SchemathesisConfig.from_dict({}))
# What is too long is refused as such, which schemathesis does not expect.
REJECTION = SCHEMA.config.checks.negative_data_rejection
REJECTION.expected_statuses = [*REJECTION.expected_statuses, "413"]

# The borders of every schema, one by one, and methods that there are not.
SCHEMA.config.phases.coverage.enabled = os.environ.get("LUNARBIT_TEST_FULL") == "1"


@SCHEMA.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_described(case: Case[Any], asked: Asked) -> None:
    """With the admin key, and then without: 401 where the description asks for a key."""
    is_as_made = (case.path_parameters or {}) == with_what_is_there(case)
    case.path_parameters = with_what_is_there(case)
    made_up = {name: value for name, value in case.headers.items() if name.lower() not in CREDENTIALS}
    case.headers = CaseInsensitiveDict({**made_up, **asked.key})
    response = case.call(base_url=asked.url, allow_redirects=False)
    # What was wrong in the path may be right now.
    is_strict = is_as_made and (case.method, case.path) not in LENIENT
    strict = [checks.negative_data_rejection] if is_strict else []
    case.validate_response(response, checks=[*CHECKS, *strict])
    if case.method == "DELETE" and response.status_code == 204:
        asked.prepare()
    case.headers = CaseInsensitiveDict(made_up)
    anonymous = case.call(base_url=asked.url, allow_redirects=False)
    case.validate_response(anonymous, checks=CHECKS)
    security = case.operation.definition.raw["security"]
    if case.method != case.operation.method.upper():
        assert anonymous.status_code == 405
    elif security and NOWHERE not in anonymous.text:
        # A project can be open to all, and which there are is not told.
        assert anonymous.status_code in ((401, 404) if {} in security else (401,))


def with_what_is_there(case: Case[Any]) -> dict[str, Any]:
    """Return the parameters of the path, in most cases with names that lead to something."""
    given = dict(case.path_parameters or {})
    chosen = sum(map(ord, repr(sorted(given.items())))) % 4
    return {name: MADE.get(name, value) if chosen else value for name, value in given.items()}
