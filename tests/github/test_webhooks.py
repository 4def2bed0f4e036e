"""`POST /webhooks/github` of a real gateway: who is believed, what is done once, and that it leads to a release."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.gateway.canonical import assert_canonical_error
from tests.gateway.edge import ECHO, KEY
from tests.github.fake_github import Clock, FakeGithub
from tests.github.scene import LINUX, WINDOWS
from tests.releases.catalogue_http import made, running, until_true

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

SECRET = "a-secret-for-webhooks"
PROJECT = {
    "id": "app",
    "name": "App",
    "verification": "trusted",
    "github": {"repository": "Octo-Org/App", "settle_s": 0},
}


@pytest.fixture
async def github() -> AsyncIterator[FakeGithub]:
    """Run a fake GitHub whose time stands still."""
    async with FakeGithub(Clock()) as fake:
        yield fake


def environ(github: FakeGithub) -> dict[str, str]:
    """Return what tells a gateway of it; it looks by itself once only."""
    return {
        "GITHUB_WEBHOOK_SECRET": SECRET,
        "GATEWAY_GITHUB__API_URL": github.url,
        "GATEWAY_GITHUB__POLL_S": "86400",
        "GATEWAY_VERIFICATION__ALLOW_NETWORKS": '["127.0.0.0/8"]',
    }


def payload(release_id: int, tag: str = "v1.0.0", repository: str = "octo-org/app", repository_id: int = 4711) -> bytes:
    """Return the body of a release event, as far as it is looked at."""
    release = {"id": release_id, "tag_name": tag}
    body = {"action": "published", "release": release, "repository": {"id": repository_id, "full_name": repository}}
    return json.dumps(body).encode()


async def deliver(
    client: httpx.AsyncClient, body: bytes, *, delivery: str = "d-1", event: str = "release", **headers: str
) -> httpx.Response:
    """Deliver as GitHub does, signed unless the headers say otherwise."""
    signature = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    sent = {
        "content-type": "application/json",
        "x-github-event": event,
        "x-github-delivery": delivery,
        "x-hub-signature-256": signature,
        **headers,
    }
    return await client.post("/webhooks/github", content=body, headers={k: v for k, v in sent.items() if v})


async def states(client: httpx.AsyncClient) -> dict[str, str]:
    """Return the state of each release as the gateway tells it."""
    response = await client.get("/projects/app/github", headers=KEY)
    assert response.status_code == 200, response.text
    return {release["tag"]: release["state"] for release in response.json()["releases"]}


async def until_looked(client: httpx.AsyncClient) -> None:
    """Wait for the first look at the repository."""

    async def has_looked() -> bool:
        answer: dict[str, Any] = (await client.get("/projects/app/github", headers=KEY)).json()
        return answer["last_poll"] is not None

    await until_true(has_looked)


async def test_a_delivery_leads_to_a_release_without_a_key(tmp_path: Path, github: FakeGithub) -> None:
    """GitHub has no key; its signature is enough, and the next poll is a day away."""
    async with running(tmp_path, ECHO, **environ(github)) as (_, client):
        await made(client, "/projects", PROJECT)
        await until_looked(client)
        release = github.publish("v1.0.0", LINUX, WINDOWS)
        del client.headers["authorization"]
        response = await deliver(client, payload(release.id))
        assert (response.status_code, response.json()) == (202, {"status": "queued"})

        async def is_published() -> bool:
            builds = "/projects/app/channels/stable/versions/1.0.0/builds"
            answers = [await client.get(f"{builds}/{name}", headers=KEY) for name in ("linux-x64", "windows-x64")]
            return all(answer.status_code == 200 for answer in answers)

        await until_true(is_published)
        assert await states(client) == {"v1.0.0": "published"}
        events = (await client.get("/admin/audit?actor=github", headers=KEY)).json()
        assert [event["action"] for event in events["events"]] == ["version.publish"]
        metrics = (await client.get("/metrics", headers=KEY)).text
        assert 'lunarbit_github_releases{state="published"} 1.0' in metrics
        assert 'lunarbit_github_requests_total{result="200"}' in metrics


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"x-hub-signature-256": ""}, 401, "UNAUTHORIZED"),
        ({"x-hub-signature-256": "sha256=" + "0" * 64}, 401, "UNAUTHORIZED"),
        ({"x-hub-signature-256": "", "x-hub-signature": "sha1=" + "0" * 40}, 401, "UNAUTHORIZED"),
        ({"x-github-delivery": ""}, 400, "INVALID_REQUEST"),
        ({"x-github-delivery": "d" * 101}, 400, "INVALID_REQUEST"),
        ({"content-type": "application/x-www-form-urlencoded"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
    ],
)
async def test_what_is_not_githubs_is_refused(
    tmp_path: Path, github: FakeGithub, headers: dict[str, str], status: int, code: str
) -> None:
    """Anybody can post here, so nothing counts but the SHA-256 of the whole body with the secret."""
    async with running(tmp_path, ECHO, **environ(github)) as (_, client):
        response = await deliver(client, payload(1), **headers)
        assert_canonical_error(response, code, status)


async def test_sha1_is_refused_even_when_it_is_right(tmp_path: Path, github: FakeGithub) -> None:
    """GitHub still sends it beside the other; alone it proves too little."""
    body = payload(1)
    sha1 = "sha1=" + hmac.new(SECRET.encode(), body, hashlib.sha1).hexdigest()
    async with running(tmp_path, ECHO, **environ(github)) as (_, client):
        response = await deliver(client, body, **{"x-hub-signature-256": "", "x-hub-signature": sha1})
        assert_canonical_error(response, "UNAUTHORIZED", 401)
        response = await deliver(client, body, **{"x-hub-signature-256": sha1})
        assert_canonical_error(response, "UNAUTHORIZED", 401)


async def test_another_body_under_a_signature_is_refused(tmp_path: Path, github: FakeGithub) -> None:
    """Not even a blank may differ: the bytes are signed and not what they mean."""
    body = payload(1)
    signature = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    async with running(tmp_path, ECHO, **environ(github)) as (_, client):
        response = await deliver(client, body + b" ", **{"x-hub-signature-256": signature})
        assert_canonical_error(response, "UNAUTHORIZED", 401)


async def test_without_a_secret_nothing_is_taken(tmp_path: Path, github: FakeGithub) -> None:
    """An empty secret would make everybody's signature right."""
    variables = {name: value for name, value in environ(github).items() if name != "GITHUB_WEBHOOK_SECRET"}
    async with running(tmp_path, ECHO, **variables) as (_, client):
        body = payload(1)
        empty = "sha256=" + hmac.new(b"", body, hashlib.sha256).hexdigest()
        response = await deliver(client, body, **{"x-hub-signature-256": empty})
        assert_canonical_error(response, "FORBIDDEN", 403)


async def test_other_events_are_answered_and_ignored(tmp_path: Path, github: FakeGithub) -> None:
    """GitHub shows a hook as broken that answers with an error, and people do tick all boxes."""
    async with running(tmp_path, ECHO, **environ(github)) as (_, client):
        ping = await deliver(client, b'{"zen": "Keep it logically awesome."}', event="ping")
        assert (ping.status_code, ping.json()) == (200, {"status": "pong"})
        push = await deliver(client, b'{"ref": "refs/heads/main"}', event="push")
        assert push.status_code == 202
        strange = await deliver(client, payload(1, repository="some-one/else", repository_id=1))
        assert (strange.status_code, strange.json()["status"]) == (202, "ignored")
        broken = await deliver(client, b'{"release": 7}')
        assert_canonical_error(broken, "INVALID_REQUEST", 400)


async def test_a_delivery_counts_once_for_two_processes_and_after_a_restart(tmp_path: Path, github: FakeGithub) -> None:
    """GitHub keeps the id when it sends again, and so does whoever replays what he has overheard."""
    release = github.publish("v1.0.0", LINUX)
    async with running(tmp_path, ECHO, **environ(github)) as first:
        await made(first.client, "/projects", PROJECT)
        await until_looked(first.client)
        async with AsyncExitStack() as stack:
            other = await stack.enter_async_context(running(tmp_path, ECHO, **environ(github)))
            clients = [first.client, other.client] * 5
            answers = await asyncio.gather(*(deliver(client, payload(release.id)) for client in clients))
            assert sorted(answer.json()["status"] for answer in answers) == ["ignored"] * 9 + ["queued"]
    async with running(tmp_path, ECHO, **environ(github)) as again:
        answer = await deliver(again.client, payload(release.id + 1))
        assert answer.json() == {"status": "ignored", "reason": "this delivery has come before"}


async def test_a_renamed_repository_is_known_by_its_number(tmp_path: Path, github: FakeGithub) -> None:
    """Deliveries carry the new name at once, while the configuration still has the old one."""
    async with running(tmp_path, ECHO, **environ(github)) as (_, client):
        await made(client, "/projects", PROJECT)
        await until_looked(client)
        github.rename("octo-org/renamed")
        release = github.publish("v1.0.0", LINUX)
        response = await deliver(client, payload(release.id, repository="octo-org/renamed"))
        assert response.json() == {"status": "queued"}

        async def is_published() -> bool:
            return await states(client) == {"v1.0.0": "published"}

        await until_true(is_published)
        status = (await client.get("/projects/app/github")).json()
        assert status["repository"] == "octo-org/renamed"


async def test_the_status_needs_a_source_and_the_right(tmp_path: Path, github: FakeGithub) -> None:
    """What is skipped and why is for those who publish."""
    async with running(tmp_path, ECHO, **environ(github)) as (_, client):
        await made(client, "/projects", {"id": "other", "name": "Other"})
        assert_canonical_error(await client.get("/projects/other/github"), "NOT_FOUND", 404)
        assert_canonical_error(await client.get("/projects/none/github"), "PROJECT_NOT_FOUND", 404)
        assert_canonical_error(await client.get("/projects/other/github?page=0"), "INVALID_REQUEST", 400)
        del client.headers["authorization"]
        assert_canonical_error(await client.get("/projects/other/github"), "UNAUTHORIZED", 401)
