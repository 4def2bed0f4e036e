"""One look at the releases of a project on GitHub, and what follows from it in the catalogue.

The list of releases is the truth and is read whole; what a webhook tells only says which release to look at first. The
list is asked for with the ETags of its pages. A single release is asked for with the time of its last look alone,
because its ETag changes with every download. Nothing is withdrawn because something is missing from a list, but only
when GitHub, asked for that one release, says that there is none while the repository answers.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.audit.entry import log_head
from gateway.errors import StorageUnavailable
from gateway.observability.logs import exception_fields, get_logger
from gateway.releases.github_api import MAX_PAGES, GithubError, GithubLimited, GithubNotFound, GithubRefused, place_of
from gateway.releases.github_apply import Act, Verdict
from gateway.releases.github_files import FilesUnreadable, read_signatures, read_sums
from gateway.releases.github_plan import assess, changed_at, configuration, with_files
from gateway.releases.github_release import fingerprint
from gateway.releases.github_store import OutOfTurn, ReleaseState, Seen

if TYPE_CHECKING:
    from gateway.releases.github_api import GithubApi, ReleasePage
    from gateway.releases.github_plan import Assessment
    from gateway.releases.github_release import GithubRelease
    from gateway.releases.github_store import GithubStore, GithubTransaction, Watched
    from gateway.releases.model import GithubSource, Project
    from gateway.releases.outgoing import Outgoing

FILES_AGAIN_MS: Final = 60_000
# How many releases that are missing from the list are asked for in one look.
MAX_CONFIRMED: Final = 20
_MANY_ASSETS: Final = 100
_FINAL: Final = (ReleaseState.PUBLISHED, ReleaseState.SKIPPED, ReleaseState.WITHDRAWN)


class Event(NamedTuple):
    """What became of one release; `changed` says whether the catalogue was changed for it."""

    tag: str
    state: ReleaseState
    reason: str
    channel_id: str | None
    version_id: str | None
    changed: bool


@dataclass(slots=True)
class Report:
    """What one look has found; `problem` is empty when nothing went wrong, `requests` those that it took."""

    project_id: str
    events: list[Event] = field(default_factory=list)
    problem: str = ""
    requests: int = 0
    held_until: int | None = None

    @property
    def has_changed(self) -> bool:
        """Whether the catalogue is another one now."""
        return any(event.changed for event in self.events)


@dataclass(slots=True)
class _Look:
    """A look under way."""

    project: Project
    source: GithubSource
    watched: Watched
    report: Report
    progress: Callable[[int, int], Awaitable[object]]


async def _no_progress(_done: int, _total: int) -> None:
    return


class GithubSync:
    """Looks at projects. `poll_s` is the time between two looks in seconds; some jitter is added to it.

    `clock_ms` gives Unix milliseconds. Its methods raise `StorageUnavailable` and `OutOfTurn`; what GitHub does wrong
    stands in the report and in what is remembered of the project.
    """

    def __init__(
        self, store: GithubStore, api: GithubApi, outgoing: Outgoing, *, clock_ms: Callable[[], int], poll_s: float
    ) -> None:
        self._store = store
        self._api = api
        self._outgoing = outgoing
        self._clock_ms = clock_ms
        self._poll_ms = poll_s * 1000

    async def poll(self, project_id: str, progress: Callable[[int, int], Awaitable[object]] = _no_progress) -> Report:
        """Look at all releases of a project. `progress` is awaited with how many of how many have been looked at."""
        return await self._with(project_id, progress, self._poll)

    async def look_at(self, project_id: str, release_id: int) -> Report:
        """Look at one release."""
        return await self._with(project_id, _no_progress, lambda look: self._single(look, release_id))

    async def _with(
        self,
        project_id: str,
        progress: Callable[[int, int], Awaitable[object]],
        work: Callable[[_Look], Awaitable[Watched]],
    ) -> Report:
        """Run `work` as a look of its own, and remember how it ended."""
        report = Report(project_id)
        begun = await self._store.begin(project_id)
        if begun is None or begun[0].github is None:
            return report
        project, watched = begun
        before = self._api.requests
        self._api.hold_until(watched.held_until)
        look = _Look(project, begun[0].github, watched, report, progress)
        try:
            after = await work(look)
        except GithubError as exc:
            report.problem = str(exc)
            # What fails for one release must not put off the look at the whole, and that must not be tried at once.
            next_at = watched.next_at if watched.next_at > self._clock_ms() else self._next_at()
            after = replace(look.watched, problem=report.problem, next_at=next_at)
        except (StorageUnavailable, OutOfTurn):
            raise
        except Exception as exc:  # noqa: BLE001 - other projects must be looked at, and this one not again at once.
            get_logger().error("github_look_failed", project=project_id, **exception_fields(exc))
            report.problem = "the look failed; the log says why"
            after = replace(look.watched, problem=report.problem, next_at=self._next_at())
        report.requests = self._api.requests - before
        await self._store.finish(after)
        if self._api.held_until_ms > self._clock_ms():
            report.held_until = self._api.held_until_ms
            await self._store.hold(self._api.held_until_ms)
        return report

    def _next_at(self) -> int:
        # Whole fleets that were started together must not ask together for ever.
        return self._clock_ms() + round(self._poll_ms * random.uniform(0.9, 1.1))  # noqa: S311 - nothing is secret here.

    async def _poll(self, look: _Look) -> Watched:
        await self._identify(look)
        applied = configuration(look.project)
        is_same = look.watched.applied == applied
        etags = look.watched.etags if is_same else ()
        pages = await self._pages(look, etags)
        is_whole = True
        if pages is not None:
            releases = {release.id: release for page in pages for release in page.releases or ()}
            is_whole = await self._look_at_all(look, releases, pages[0].now_ms, is_same=is_same)
            is_full = len(pages[-1].releases or ()) >= self._api.per_page
            # A page that begins behind a full one would be missed; and only what was dealt with may be skipped.
            etags = tuple(page.etag or "" for page in pages) if is_whole and not is_full else ()
            if not all(etags):
                etags = ()
        return replace(
            look.watched,
            etags=etags,
            applied=applied if is_whole else "",
            polled_at=self._clock_ms(),
            next_at=self._next_at(),
            problem=look.report.problem,
        )

    async def _identify(self, look: _Look) -> None:
        """Find out GitHub's number of the repository, once for each name that is configured."""
        watched, name = look.watched, look.source.repository
        if watched.repository_id is not None and watched.configured.lower() == name.lower():
            return
        found = await self._api.repository(name)
        if found.private:
            # Whoever may change one project would otherwise read what the token may see of any repository.
            raise GithubRefused("the repository is private, and clients could not download its files")
        if watched.repository_id not in (None, found.id):
            await self._store.administer(look.project.id, watched.turn, lambda tx: tx.forget(look.project.id))
        look.watched = replace(
            watched, configured=name, repository=found.full_name, repository_id=found.id, etags=(), applied=""
        )

    async def _pages(self, look: _Look, etags: tuple[str, ...]) -> list[ReleasePage] | None:
        """Return the whole list, or None if no page of it has changed."""
        place = place_of(look.source.repository, look.watched.repository_id)
        first: ReleasePage | None = None
        for number, etag in enumerate(etags, 1):
            page = await self._api.releases(place, page=number, etag=etag)
            if page.releases is not None:
                first = page if number == 1 else None
                break
        else:
            if etags:
                return None
        pages = [first or await self._api.releases(place)]
        while pages[-1].next_url is not None and len(pages) < MAX_PAGES:
            pages.append(await self._api.releases(place, url=pages[-1].next_url))
        if pages[-1].next_url is not None:
            look.report.problem = f"only the first {MAX_PAGES * self._api.per_page} releases are looked at"
        return pages

    async def _look_at_all(
        self, look: _Look, releases: dict[int, GithubRelease], github_now_ms: int, *, is_same: bool
    ) -> bool:
        """Look at what has changed, and at what is missing; False if something could not be dealt with."""
        known = await self._store.all_seen(look.project.id)
        is_whole = True
        for number, release in enumerate(releases.values()):
            await look.progress(number, len(releases))
            seen = known.get(release.id)
            if seen is None and release.draft:
                continue
            if is_same and seen is not None and _is_done(seen, release):
                continue
            is_whole &= await self._guarded(look, release, seen, github_now_ms)
        missing = [seen for seen in known.values() if seen.release_id not in releases]
        missing = [seen for seen in missing if seen.state is not ReleaseState.WITHDRAWN]
        for seen in missing[:MAX_CONFIRMED]:
            await self._confirm(look, seen)
        await look.progress(len(releases), len(releases))
        return is_whole and len(missing) <= MAX_CONFIRMED

    async def _guarded(self, look: _Look, release: GithubRelease, seen: Seen | None, github_now_ms: int) -> bool:
        try:
            await self._take_over(look, release, seen, github_now_ms)
        except (GithubError, StorageUnavailable, OutOfTurn):
            raise
        except Exception as exc:  # noqa: BLE001 - one release that we cannot deal with must not stop the others.
            get_logger().error("github_release_failed", project=look.project.id, **exception_fields(exc))
            look.report.problem = "a release could not be dealt with; the log says why"
            return False
        return True

    async def _confirm(self, look: _Look, seen: Seen) -> None:
        """Ask for a release that is missing from the list: the list may have moved while it was read."""
        place = place_of(look.source.repository, look.watched.repository_id)
        try:
            found = await self._api.release(place, seen.release_id)
        except GithubNotFound:
            await self._gone(look, seen, "the release was deleted or unpublished")
            return
        if found.release is not None:
            await self._guarded(look, found.release, seen, found.now_ms)

    async def _single(self, look: _Look, release_id: int) -> Watched:
        seen = (await self._store.all_seen(look.project.id)).get(release_id)
        if seen is None:
            return look.watched
        # What was skipped may have to be judged anew although it is as it was: the version was another release's.
        is_settled = seen.state is ReleaseState.PUBLISHED
        try:
            await self._identify(look)
            place = place_of(look.source.repository, look.watched.repository_id)
            found = await self._api.release(place, release_id, since=seen.last_modified if is_settled else None)
        except GithubNotFound:
            # Whether it was deleted, or we may not see anything any more, only a look at the whole can tell.
            await self._save(look, seen, replace(seen, due_at=None))
            return replace(look.watched, next_at=self._clock_ms(), etags=())
        except GithubLimited:
            raise
        except GithubError:
            await self._save(look, seen, replace(seen, due_at=self._clock_ms() + FILES_AGAIN_MS))
            raise
        if found.release is None:
            await self._save(look, seen, replace(seen, due_at=None, last_modified=found.last_modified))
        elif not await self._guarded(
            look, found.release, replace(seen, last_modified=found.last_modified), found.now_ms
        ):
            await self._save(look, seen, replace(seen, due_at=None))
        return look.watched

    async def _take_over(self, look: _Look, release: GithubRelease, seen: Seen | None, github_now_ms: int) -> None:
        """Decide on one release and write what follows, in one transaction."""
        now = self._clock_ms()
        mark = fingerprint(release)
        since = changed_at(release, mark, seen, github_now_ms, now)
        # A thousand assets are about a tenth of a second.
        judge = partial(assess, release, look.project, look.source)
        assessment = await asyncio.to_thread(judge) if len(release.assets) > _MANY_ASSETS else judge()
        if assessment.state is None:
            await self._gone(look, seen, "the release was turned into a draft", mark)
            return
        verdict, due_at = Verdict(assessment.state, assessment.reason), None
        settled_at = since + round(look.source.settle_s * 1000)
        is_there = seen is not None and seen.version_id is not None
        if now < settled_at and (assessment.state is ReleaseState.PUBLISHED or is_there):
            reason = assessment.reason if assessment.state is ReleaseState.WAITING else "changed a moment ago"
            verdict, due_at = Verdict(ReleaseState.WAITING, reason), settled_at
        elif assessment.sums or assessment.signatures:
            try:
                digests = await read_sums(self._outgoing, assessment.sums)
                signatures = await read_signatures(self._outgoing, assessment.signatures)
                assessment = with_files(assessment, digests, signatures)
            except FilesUnreadable as exc:
                verdict, due_at = Verdict(ReleaseState.WAITING, str(exc)), now + FILES_AGAIN_MS
        after = Seen(
            release.id, release.tag_name[:255], mark, since, verdict.state, verdict.reason,
            last_modified=seen.last_modified if seen else None, due_at=due_at,
        )  # fmt: skip
        await self._write(look, release, assessment, seen, after)

    async def _write(
        self, look: _Look, release: GithubRelease, assessment: Assessment, seen: Seen | None, after: Seen
    ) -> None:
        async def work(tx: GithubTransaction) -> tuple[Act, Seen]:
            act = await self._begin(look, tx)
            done = after
            if after.state is ReleaseState.PUBLISHED:
                verdict = await act.publish(release, assessment)
                is_taken = verdict.state is ReleaseState.SKIPPED
                # Who has the version may give it up, and nothing in this release would tell.
                done = replace(done, state=verdict.state, reason=verdict.reason)
                done = replace(done, due_at=act.now_ms + round(self._poll_ms) if is_taken else None)
                if not is_taken:
                    done = replace(done, channel_id=assessment.channel_id, version_id=assessment.version_id)
            elif after.state is ReleaseState.SKIPPED:
                await act.withdraw(release.id, after.reason)
            elif seen is not None:
                done = replace(done, channel_id=seen.channel_id, version_id=seen.version_id)
            done = await _put(tx, look.project.id, seen, done)
            await act.end()
            return act, done

        await self._done(look, seen, *await self._store.administer(look.project.id, look.watched.turn, work))

    async def _gone(self, look: _Look, seen: Seen | None, reason: str, mark: str = "") -> None:
        """Withdraw what was made of a release that is not published any more; it is no harm if nothing was."""
        if seen is None:
            return

        async def work(tx: GithubTransaction) -> tuple[Act, Seen]:
            act = await self._begin(look, tx)
            await act.withdraw(seen.release_id, reason)
            done = replace(seen, state=ReleaseState.WITHDRAWN, reason=reason, fingerprint=mark, due_at=None)
            if await tx.owned(look.project.id, seen.release_id):
                done = await _put(tx, look.project.id, seen, done)
            else:
                await tx.forget(look.project.id, seen.release_id)
            await act.end()
            return act, done

        await self._done(look, seen, *await self._store.administer(look.project.id, look.watched.turn, work))

    async def _begin(self, look: _Look, tx: GithubTransaction) -> Act:
        """Begin to write. Raises `OutOfTurn` if the project is gone, or its releases come from elsewhere by now."""
        act = await Act.begin(tx, look.project.id, self._clock_ms())
        if act.project.github != look.source:
            raise OutOfTurn
        return act

    async def _save(self, look: _Look, seen: Seen, after: Seen) -> None:
        async def work(tx: GithubTransaction) -> None:
            await _put(tx, look.project.id, seen, after)

        await self._store.administer(look.project.id, look.watched.turn, work)

    async def _done(self, look: _Look, seen: Seen | None, act: Act, after: Seen) -> None:
        """Report what was written, now that it is durable."""
        for entry, head in act.audited:
            log_head(entry, head)
        if act.audited or seen is None or (seen.state, seen.reason) != (after.state, after.reason):
            event = Event(
                after.tag, after.state, after.reason, after.channel_id, after.version_id, changed=bool(act.audited)
            )
            look.report.events.append(event)


def _is_done(seen: Seen, release: GithubRelease) -> bool:
    """Whether a release was dealt with as it is."""
    return seen.state in _FINAL and seen.due_at is None and seen.fingerprint == fingerprint(release)


async def _put(tx: GithubTransaction, project_id: str, seen: Seen | None, after: Seen) -> Seen:
    """Remember a release, without losing that a webhook has named it meanwhile."""
    present = await tx.seen(project_id, after.release_id)
    if present is not None and present.due_at != (None if seen is None else seen.due_at):
        after = replace(after, due_at=present.due_at)
    await tx.put_seen(project_id, after)
    return after
