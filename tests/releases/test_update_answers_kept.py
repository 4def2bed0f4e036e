"""Answers to update checks are kept ready; nobody may see from outside that they are."""

from __future__ import annotations

import random
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from gateway.endpoints.conditional import MAX_KEPT, ReadyAnswer, ReadyAnswers, ready_answers
from gateway.releases.snapshot import Catalogue
from tests.releases.catalogue_http import STABLE, VERSIONS, build, import_example, made, running

if TYPE_CHECKING:
    from pathlib import Path

ASKED = {"current_version": "0.1.0", "platform": "windows", "architecture": "x64"}
QUESTIONS = 1_000
MORE = (
    *("client_id=a", "client_id=b", "stagingId=a", "stagingId=c", "client%5Fid=a", "staging%49d=b", "stagingId=%20"),
    *(
        "client_id=",
        "client_id",
        "client_id=a+b",
        "client_id=%00",
        "explain=0",
        "explain=1",
        "",
        "x=1",
        "os_version=10",
    ),
    *("launcher_version=1.0.0", "current%5Fversion=0.1.0"),
)


def ready(validator: str = "x") -> ReadyAnswer:
    """Make an answer."""
    return ReadyAnswer({}, validator, 60)


async def test_what_is_published_is_offered_at_once(tmp_path: Path) -> None:
    """A kept answer is of one catalogue, and every change makes a new one."""
    async with running(tmp_path) as (_, client):
        await import_example(client)
        first = await client.get(f"{STABLE}/update", params=ASKED)
        again = await client.get(f"{STABLE}/update", params=ASKED)
        assert (first.content, first.headers["etag"]) == (again.content, again.headers["etag"])
        await made(client, VERSIONS, {"id": "99.0.0", "builds": [build("99.0.0")]})
        after = await client.get(f"{STABLE}/update", params=ASKED)
        assert after.headers["etag"] != first.headers["etag"]
        assert "99.0.0" in after.text
        assert "99.0.0" not in first.text


async def test_the_first_and_later_answers_have_the_same_headers(tmp_path: Path) -> None:
    """Request id and remaining requests differ, and nothing else does; 304 tells what 200 does."""
    async with running(tmp_path) as (_, client):
        await import_example(client)
        answers = [await client.get(f"{STABLE}/update", params=ASKED) for _ in range(3)]
        names = [list(answer.headers) for answer in answers]
        assert names[0] == names[1] == names[2]
        ids = {answer.headers["x-request-id"] for answer in answers}
        assert len(ids) == 3
        unchanged = await client.get(
            f"{STABLE}/update", params=ASKED, headers={"if-none-match": answers[0].headers["etag"]}
        )
        assert unchanged.status_code == 304
        assert unchanged.content == b""
        for name in ("etag", "cache-control", "vary"):
            assert unchanged.headers[name] == answers[0].headers[name]


@pytest.mark.parametrize(
    "own", [{"client_id": "a"}, {"stagingId": "a"}, {"headers": {"x-user-staging-id": "a"}}], ids=str
)
async def test_nothing_is_kept_for_a_client_with_an_id_of_its_own(tmp_path: Path, own: dict[str, Any]) -> None:
    """In a staged rollout others who ask the same may be told something else; without one they share an answer."""
    async with running(tmp_path) as (app, client):
        await import_example(client)
        headers = own.get("headers", {})
        params = {name: value for name, value in own.items() if name != "headers"}
        plain = await client.get(f"{STABLE}/update", params=ASKED)
        for order in (ASKED | params, params | ASKED):
            shared = await client.get(f"{STABLE}/update", params=order, headers=headers)
            assert (shared.content, shared.headers["etag"]) == (plain.content, plain.headers["etag"])
        # At most the plain question, and one with an id in each place.
        assert 0 < len(ready_answers(app.state.catalogue.now)) <= 3
        count = len(ready_answers(app.state.catalogue.now))
        for number in range(5):
            others = dict.fromkeys(params, f"other-{number}")
            await client.get(f"{STABLE}/update", params=ASKED | others, headers=headers)
        assert len(ready_answers(app.state.catalogue.now)) == count
        await made(client, VERSIONS, {"id": "99.0.0", "rollout_percent": 50, "builds": [build("99.0.0")]})
        response = await client.get(f"{STABLE}/update", params=ASKED | params, headers=headers)
        assert response.status_code == 200
        assert not ready_answers(app.state.catalogue.now)


@pytest.mark.parametrize("wrong", ["client_id=", "client_id=a&client_id=b", "stagingId=%00"])
async def test_a_wrong_id_is_refused_whatever_is_kept(tmp_path: Path, wrong: str) -> None:
    """What is answered does not depend on who asked before."""
    async with running(tmp_path) as (_, client):
        await import_example(client)
        asked = "&".join(f"{name}={value}" for name, value in ASKED.items())
        for _ in range(2):
            assert (await client.get(f"{STABLE}/update?{asked}")).status_code == 200
            assert (await client.get(f"{STABLE}/update?{asked}&{wrong}")).status_code == 400


async def test_what_is_kept_is_what_would_be_answered_anew(tmp_path: Path) -> None:
    """However a question is written: twice, in another order, percent-encoded, wrong, with an id or several."""
    chance = random.Random(5)
    async with running(tmp_path) as (app, client):
        await import_example(client)
        for _ in range(QUESTIONS):
            parts = [f"{name}={value}" for name, value in ASKED.items()]
            parts += chance.choices(MORE, k=chance.choice((0, 1, 1, 2)))
            if chance.random() < 0.3:
                chance.shuffle(parts)
            path = f"{STABLE}/update?{'&'.join(parts)}"
            headers = {"x-user-staging-id": "z"} if chance.random() < 0.2 else {}
            kept = ready_answers(app.state.catalogue.now)
            answer = await client.get(path, headers=headers)
            before = dict(kept)
            kept.clear()
            anew = await client.get(path, headers=headers)
            kept.clear()
            kept.update(before)
            assert answer.status_code == anew.status_code, path
            if anew.status_code == 200:
                assert (answer.content, answer.headers["etag"]) == (anew.content, anew.headers["etag"]), path


async def test_a_question_of_many_kilobytes_is_not_kept(tmp_path: Path) -> None:
    """A query may be padded with what means nothing, and thousands of such would fill the memory."""
    async with running(tmp_path) as (app, client):
        await import_example(client)
        asked = "&".join(f"{name}={value}" for name, value in ASKED.items())
        response = await client.get(f"{STABLE}/update?{asked}{'&' * 10_000}")
        assert response.status_code == 200
        assert not ready_answers(app.state.catalogue.now)


async def test_addresses_that_changed_reach_clients_that_ask_with_a_validator(tmp_path: Path) -> None:
    """Otherwise launchers would go to the gateway's old address until the next release."""
    asked = f"{STABLE}/update?" + "&".join(f"{name}={value}" for name, value in ASKED.items())
    tags: set[str] = set()
    settings: tuple[dict[str, str], ...] = (
        {},
        {"GATEWAY_RELEASES__DOWNLOAD_URLS": "gateway"},
        {"GATEWAY_RELEASES__DOWNLOAD_URLS": "gateway", "GATEWAY_SERVER__PUBLIC_URL": "https://new.example"},
    )
    for environ in settings:
        async with running(tmp_path, **environ) as (_, client):
            if not tags:
                await import_example(client)
            tags.add((await client.get(asked)).headers["etag"])
    assert len(tags) == 3


async def test_a_book_is_not_kept(tmp_path: Path) -> None:
    """Thousands of long release notes would fill the memory."""
    async with running(tmp_path) as (app, client):
        await import_example(client)
        await made(client, VERSIONS, {"id": "99.0.0", "release_notes": "x" * 9_000, "builds": [build("99.0.0")]})
        response = await client.get(f"{STABLE}/update", params=ASKED)
        assert len(response.content) > 9_000
        assert not ready_answers(app.state.catalogue.now)


@pytest.mark.parametrize("value", ["1", "true"])
async def test_an_explanation_is_asked_for_in_either_way(tmp_path: Path, value: str) -> None:
    """People write flags in both ways."""
    async with running(tmp_path) as (app, client):
        await import_example(client)
        response = await client.get(f"{STABLE}/update", params=ASKED | {"explain": value})
        assert response.json()["explain"]
        assert not ready_answers(app.state.catalogue.now)


def test_the_oldest_of_too_many_makes_room() -> None:
    """Who asks for many made-up versions must not fill the memory."""
    answers, answer = ReadyAnswers(), ready()
    for number in range(MAX_KEPT + 3):
        answers.keep(number, answer)
    assert len(answers) == MAX_KEPT
    assert 2 not in answers
    assert 3 in answers


def test_answers_go_with_their_catalogue() -> None:
    """A catalogue that nobody reads any more must not stay in memory for its answers' sake."""
    catalogue = Catalogue()
    ready_answers(catalogue).keep("asked", ready())
    assert "asked" in ready_answers(catalogue)
    gone = weakref.ref(ready_answers(catalogue))
    del catalogue
    assert gone() is None
    assert "asked" not in ready_answers(Catalogue())
