"""Makes the parts of the synchronisation with GitHub from the settings, for the server and for the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.releases.addresses import AddressRules
from gateway.releases.github_api import GithubApi
from gateway.releases.github_sync import GithubSync
from gateway.releases.outgoing import Limits, Outgoing

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.releases.github_store import GithubStore
    from gateway.settings import Settings


def github_api(
    settings: Settings, *, clock_ms: Callable[[], int], on_request: Callable[[str], object] = lambda _: None
) -> GithubApi:
    """Return the client of GitHub's API, which is closed with `async with`. `clock_ms` gives Unix milliseconds."""
    github = settings.github
    return GithubApi(github.api_url, github.token.get_secret_value(), clock_ms=clock_ms, on_request=on_request)


def github_sync(settings: Settings, store: GithubStore, api: GithubApi, *, clock_ms: Callable[[], int]) -> GithubSync:
    """Return what looks at projects by this client."""
    outgoing = Outgoing(AddressRules(settings.verification.allow_networks), Limits())
    return GithubSync(store, api, outgoing, clock_ms=clock_ms, poll_s=settings.github.poll_s)
