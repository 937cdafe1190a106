"""Which requests may take the fast path.

What this page does not know goes the general way: a header that is not in its lists, a body that is not plain. So
nothing is overlooked that a header or a field may mean.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from enginehouse.api.calls import Call
from enginehouse.api.fast.answering import Answering, broke
from enginehouse.api.fast.streaming import Streaming
from enginehouse.api.fast.turns import (
    BEGIN,
    HEAR,
    JOURNAL,
    KEEP,
    LOOK,
    READ,
    RECORD,
    SETTLE,
    STAND,
    TELL,
    Turn,
)
from enginehouse.api.fast.whole import Whole
from enginehouse.core.gateway.fast import Route, Run, Streamed, Track, Tracks
from enginehouse.core.identity import Identity, check_page
from enginehouse.core.limits import Limits, LocalGrant
from enginehouse.errors import PermissionDenied
from enginehouse.settings.schema import ServerSettings
from enginehouse.types import Principal
from enginehouse.types.ids import ordered_hex

__all__ = ["SAYING_NOTHING", "FastPath"]

_SAYING: Mapping[bytes, int] = MappingProxyType(
    {
        name: place
        for place, name in enumerate(
            (b"authorization", b"x-api-key", b"x-request-id", b"host", b"traceparent", b"tracestate")
        )
    }
)
"""Headers that are read, and where `_said` has them."""
SAYING_NOTHING = frozenset(
    {
        *(b"accept", b"accept-encoding", b"accept-language", b"connection", b"content-length", b"content-type"),
        *(b"user-agent", b"keep-alive", b"openai-organization", b"openai-project", b"openai-beta", b"http-referer"),
        *(b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-proto", b"x-real-ip", b"via"),
        *(b"forwarded", b"x-title"),
    }
)
"""Headers that change nothing in an answer; so do those of `_OTHERS`."""
_OTHERS = (b"x-stainless-", b"x-amzn-", b"x-b3-", b"x-envoy-", b"cf-")
"""What headers of clients and proxies begin with that nobody here reads."""
_MOST_ID = 128


class _Heading(NamedTuple):
    """What the head of a request says; the next one on its connection most often says the same."""

    server: ServerSettings
    """By which it was read."""
    credentials: tuple[bytes | None, bytes | None]
    """`Authorization` and `X-API-Key`."""
    request_id: str
    """The caller's own; empty where it has none."""
    traceparent: str | None
    tracestate: str | None


class FastPath:
    """Satisfies `Lane`.

    Args:
        routes: those of plain requests.
        tracks: what is known of requests like one.
        identity: who is calling.
        limits: how much callers may ask.
        server: pings and pages.
        leaving: whether the service has been told to stop.
    """

    def __init__(
        self,
        routes: Mapping[str, Route],
        tracks: Tracks,
        identity: Identity,
        limits: Limits,
        server: ServerSettings,
        leaving: Callable[[], bool],
    ) -> None:
        self.paths = routes
        self._tracks = tracks
        self._limits = limits
        self._leaving = leaving
        self._clock = asyncio.get_running_loop().time
        self._turn = Turn(
            {
                HEAR: Whole.hear,
                RECORD: Whole.record,
                JOURNAL: Whole.hand_in,
                TELL: Whole.tell,
                KEEP: Run.keep,
                STAND: Run.stand,
                SETTLE: Run.settle,
                READ: self._read,
                LOOK: _look,
                BEGIN: self._begin,
            }
        )
        self.adopt(identity, server)

    def adopt(self, identity: Identity, server: ServerSettings) -> None:
        """New settings count from the next request on."""
        self._identity = identity
        self._server = server
        self._tracks.forget()

    def offer(self, call: Call) -> bool:
        """Whether its head is one that is understood here; then all else is done in its turn."""
        if self._heading(call) is None:
            return False
        self._turn.at(READ, call)
        return True

    # One step after the other, until the answer goes on by itself; where one says no, the application answers.

    def _read(self, calls: Sequence[Call]) -> Sequence[Answering]:
        """Those that are plain, of a caller and a model that are known."""
        plain: list[Answering] = []
        is_open = self._server.fast_path and not self._leaving()
        callers: dict[tuple[bytes | None, bytes | None], Principal | None] = {}
        for call in calls:
            heading = call.kept
            try:
                assert isinstance(heading, _Heading), "it was offered"
                credentials = heading.credentials
                if credentials not in callers:  # who has been seen in this step
                    callers[credentials] = self._identity.known(*credentials)
                caller = callers[credentials]
                answer = None if caller is None or not is_open else self._known(call, heading, caller)
                if answer is None:
                    call.hand_over()
                else:
                    plain.append(answer)
            except Exception as error:  # noqa: BLE001 - the application answers, and the log hears of it
                broke(call, error)
        return plain

    def _begin(self, answers: Sequence[Answering]) -> Sequence[Answering]:
        """All are begun that can be, or left to the application."""
        if not self._tracks.open():
            for answer in answers:
                answer.leave_it()
            return answers
        coming: list[Answering] = []
        for answer, grant in self._granted(answers):
            try:
                if answer.run.is_clear():
                    answer.run.come(grant)
                    coming.append(answer)
                    continue
                answer.leave_it()
            except Exception as error:  # noqa: BLE001 - the application answers, and the log hears of it
                answer.broke(error)
            if grant is not None:
                grant.undo_now()
        self._tracks.enter(len(coming))
        for answer in coming:
            try:
                answer.run.ask()
                answer.begin()
            except Exception as error:  # noqa: BLE001 - as above, and what was taken is given back
                answer.run.given_up(error)
                answer.broke(error)
        return answers

    def _known(self, call: Call, heading: _Heading, principal: Principal) -> Answering | None:
        """The request on its track; None where there is none for it."""
        if len(call.body) > self._server.max_body_bytes:
            return None
        route = self.paths[call.path]
        asked = route.read(call.body)
        if asked is None:
            return None
        track = self._tracks.find(route, principal, asked.model)
        if track is None:
            return None
        link = self._tracks.traces.placed(heading.traceparent, heading.tracestate)
        about = track, asked, call.body, heading.request_id or ordered_hex(), call.began, self._clock, link
        if asked.stream:
            return Streaming(call, Streamed(*about), self._turn, self._server.ping_interval)
        return Whole(call, Run(*about), self._turn)

    def _granted(self, answers: Sequence[Answering]) -> Sequence[tuple[Answering, LocalGrant | None]]:
        """Those whose callers' limits allow it, with what they take of them; None where nothing is limited."""
        of: dict[Track, list[Answering]] = {}
        for answer in answers:
            of.setdefault(answer.run.track, []).append(answer)
        granted: list[tuple[Answering, LocalGrant | None]] = []
        for track, those in of.items():
            bounds = self._limits.now(track.principal, track.path)
            if bounds is None:
                for answer in those:
                    answer.leave_it()
            elif bounds.is_open:
                granted += [(answer, None) for answer in those]
            else:
                grants = bounds.take([answer.run.expected() for answer in those])
                for answer, grant in zip(those, grants, strict=True):
                    if grant is None:
                        answer.leave_it()
                    else:
                        granted.append((answer, grant))
        return granted

    def _heading(self, call: Call) -> _Heading | None:
        """None when it says something that is not understood here."""
        known = call.kept
        if isinstance(known, _Heading) and known.server is self._server:
            return known
        said = _said(call.headers)
        if said is None:
            return None
        authorization, api_key, given, host, parent, state = said
        if self._identity.open and not self._is_ours(host):
            return None
        request_id = "" if given is None else given.decode("latin-1")
        sane = len(request_id) <= _MOST_ID and request_id.isascii() and request_id.isprintable()
        if not sane or given == b"":
            return None
        trace = (
            None if parent is None else parent.decode("latin-1"),
            None if state is None else state.decode("latin-1"),
        )
        heading = call.kept = _Heading(self._server, (authorization, api_key), request_id, *trace)
        return heading

    def _is_ours(self, host: bytes | None) -> bool:
        """Whether no page of somebody else's can have sent it, where nobody is asked for a key."""
        try:
            check_page(None, None if host is None else host.decode("latin-1"), self._server.cors_origins)
        except PermissionDenied:
            return False
        return True


def _look(answers: Sequence[Answering]) -> Sequence[Answering]:
    """Those whose answer is kept, or has to be asked for."""
    on: list[Answering] = []
    for answer in answers:
        try:
            if answer.run.seek():
                on.append(answer)
            else:
                answer.leave_it()
        except Exception as error:  # noqa: BLE001 - the application answers, and the log hears of it
            answer.broke(error)
    return on


def _said(headers: Sequence[tuple[bytes, bytes]]) -> Sequence[bytes | None] | None:
    """What says something, in the order of `_SAYING`; None when it is not understood here."""
    said: list[bytes | None] = [None] * len(_SAYING)
    for name, value in headers:
        if name in SAYING_NOTHING:
            continue
        place = _SAYING.get(name)
        if place is not None and said[place] is None:
            said[place] = value
        elif not name.startswith(_OTHERS):
            return None
    return said
