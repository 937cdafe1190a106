"""The fast path at the HTTP edge: which requests may take it, and their answers as bytes, head and all.

What this page does not know goes the general way: a header that is not in its lists, a body that is not plain. So
nothing is overlooked that a header or a field may mean.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from types import MappingProxyType
from typing import NamedTuple

import structlog

from enginehouse.api.calls import Call
from enginehouse.api.faces import refusal_headers
from enginehouse.api.generation import head_of
from enginehouse.api.guard import SECURITY_HEADERS
from enginehouse.api.wire import PING, quoted, status_of
from enginehouse.core.gateway.fast import GoGenerally, Outcome, Route, Run, Streamed, Tracks
from enginehouse.core.identity import Identity, check_page
from enginehouse.core.limits import NO_BOUNDS, Limits
from enginehouse.errors import CallerGone, EnginehouseError, PermissionDenied, ShuttingDown
from enginehouse.settings.schema import ServerSettings
from enginehouse.types.ids import ordered_hex

__all__ = ["SAYING_NOTHING", "FastPath"]

log = structlog.get_logger()

_AUTHORIZATION, _API_KEY, _ID, _HOST = range(4)
_SAYING: Mapping[bytes, int] = MappingProxyType(
    {b"authorization": _AUTHORIZATION, b"x-api-key": _API_KEY, b"x-request-id": _ID, b"host": _HOST}
)
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
_OK = 200
_SECURITY = b"".join(b"%b: %b\r\n" % header for header in SECURITY_HEADERS)
_STREAM = b"cache-control: no-cache\r\nx-accel-buffering: no\r\n"
_CHUNKED = b"transfer-encoding: chunked\r\n"
_END = b"0\r\n\r\n"
_GONE = Outcome("cancelled", CallerGone.code, "The caller went away.", 499)


class _Heading(NamedTuple):
    """What the head of a request says; the next one on its connection most often says the same."""

    server: ServerSettings
    """By which it was read."""
    authorization: bytes | None
    api_key: bytes | None
    request_id: str
    """The caller's own; empty where it has none."""


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
        self.adopt(identity, server)

    def adopt(self, identity: Identity, server: ServerSettings) -> None:
        """New settings count from the next request on."""
        self._identity = identity
        self._server = server
        self._tracks.forget()

    def offer(self, call: Call) -> bool:
        """Whether it is answered here."""
        run = self._ready(call)
        if run is None:
            return False
        serving = _Serving(call, run, self._server.ping_interval)
        task = asyncio.get_running_loop().create_task(serving.serve())
        task.add_done_callback(serving.see)
        call.adopt(task)
        call.hear(task.cancel)
        return True

    def _ready(self, call: Call) -> Run | None:
        """The request with all that it needs; None, and nothing taken, where it goes the general way."""
        server = self._server
        shut = self._leaving() or not server.fast_path or len(call.body) > server.max_body_bytes
        heading = None if shut else self._heading(call)
        if heading is None:
            return None
        request_id = heading.request_id or ordered_hex()
        principal = self._identity.known(heading.authorization, heading.api_key)
        if principal is None:
            return None
        route = self.paths[call.path]
        asked = route.read(call.body)
        if asked is None:
            return None
        track = self._tracks.find(route, principal, asked.model)
        if track is None:
            return None
        kind = Streamed if asked.stream else Run
        run = kind(track, asked, call.body, request_id, call.began, self._clock)
        return run if run.is_clear() and self._begun(run) else None

    def _begun(self, run: Run) -> bool:
        bounds = self._limits.now(run.track.principal, run.track.path)
        if bounds is None:
            return False
        if bounds is NO_BOUNDS:
            return run.begin(None)
        grant = self._limits.take_now(bounds, run.expected() if bounds.tokens else 0)
        if grant is None:
            return False
        if run.begin(grant):
            return True
        grant.undo_now()
        return False

    def _heading(self, call: Call) -> _Heading | None:
        """None when it says something that is not understood here."""
        known = call.kept
        if isinstance(known, _Heading) and known.server is self._server:
            return known
        said = _said(call.headers)
        if said is None:
            return None
        authorization, api_key, given, host = said
        if self._identity.open and not self._is_ours(host):
            return None
        request_id = "" if given is None else given.decode("latin-1")
        sane = len(request_id) <= _MOST_ID and request_id.isascii() and request_id.isprintable()
        if not sane or given == b"":
            return None
        heading = call.kept = _Heading(self._server, authorization, api_key, request_id)
        return heading

    def _is_ours(self, host: bytes | None) -> bool:
        """Whether no page of somebody else's can have sent it, where nobody is asked for a key."""
        try:
            check_page(None, None if host is None else host.decode("latin-1"), self._server.cors_origins)
        except PermissionDenied:
            return False
        return True


class _Serving:
    """One answer on its way.

    Args:
        call: the request on its connection.
        run: the same on its track.
        ping_interval: seconds of silence after which a stream gets a comment.
    """

    __slots__ = ("_call", "_entered", "_last_write", "_ping_interval", "_run", "_started", "_timer")

    def __init__(self, call: Call, run: Run, ping_interval: float) -> None:
        self._call = call
        self._run = run
        self._ping_interval = ping_interval
        self._entered = False
        self._started = False
        self._last_write = run.began
        self._timer: asyncio.TimerHandle | None = None
        if isinstance(run, Streamed):
            run.tell = self._tell

    async def serve(self) -> None:
        """Answer, or hand it over; whatever happens, what was taken is given back."""
        self._entered = True
        call, run = self._call, self._run
        try:
            if isinstance(run, Streamed):
                await self._stream(run)
            else:
                body = await (run.hit() if run.is_hit else run.whole())
                call.write(
                    self._head(b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body)) + body
                )
        except GoGenerally as error:
            call.hear(None)
            call.hand_over(tried=error.tried)
            return
        except asyncio.CancelledError:
            call.hear(None)
            await self._cut()
            raise
        except Exception as error:  # noqa: BLE001 - the caller hears of it, and so does the log
            call.hear(None)
            await self._failed(error)
        else:
            call.hear(None)
            self._told()
        finally:
            self._rest()
        call.end()

    def see(self, task: "asyncio.Task[None]") -> None:
        """Who is cancelled before the first step never comes in: what was taken is given back all the same."""
        del task
        if not self._entered:
            self._call.hear(None)
            self._run.failed(_GONE, asyncio.CancelledError())
            self._rest()

    def _rest(self) -> None:
        """Nothing holds what is over."""
        if self._timer is not None:
            self._timer.cancel()
        if isinstance(self._run, Streamed):
            self._run.tell = _unheard

    def _told(self) -> None:
        """The caller has its answer, whatever comes of the rest."""
        try:
            self._run.done()
        except Exception:
            log.exception("request_broke", request_id=self._run.request_id, path=self._run.track.path)

    # Streams

    async def _stream(self, run: Streamed) -> None:
        self._call.full(run.pause)
        self._wait_in_silence(run)
        last = await run.streamed()
        if not self._started:
            last = self._begin_stream() + _chunk(last)
        elif last:
            last = _chunk(last)
        self._call.write(last + _END)

    def _tell(self, frames: bytes) -> None:
        self._last_write = self._run.clock()
        self._call.write(_chunk(frames) if self._started else self._begin_stream() + _chunk(frames))

    def _begin_stream(self) -> bytes:
        self._started = True
        kind = b"content-type: %b\r\n" % self._run.track.codec.media_type.encode()
        return self._head(kind + _STREAM, framing=_CHUNKED)

    def _wait_in_silence(self, run: Streamed) -> None:
        """Be called when nothing has been written for as long as a ping is apart."""
        silent = run.clock() - self._last_write
        if silent >= self._ping_interval * 0.9:
            run.spoken = True
            self._tell(PING)
            silent = 0.0
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._ping_interval - silent, self._wait_in_silence, run)

    # Ends

    async def _cut(self) -> None:
        """Whoever cancels: the caller, who has left, or the service, which waits no longer."""
        run = self._run
        if self._call.gone:
            log.info("caller_gone", request_id=run.request_id, path=run.track.path)
            run.failed(_GONE, asyncio.CancelledError())
        else:
            await self._failed(ShuttingDown("The service is shutting down.", retry_after=5))
            self._call.end()

    async def _failed(self, error: Exception) -> None:
        """Tell what went wrong, and record it."""
        run = self._run
        if not isinstance(error, EnginehouseError):
            log.error("request_broke", request_id=run.request_id, path=run.track.path, exc_info=error)
            error = EnginehouseError("The service made a mistake; its log says more.")
        status = run.track.codec.statuses.get(error.code, status_of(error))
        log.info("request_failed", request_id=run.request_id, status=status, code=error.code, error=error.message)
        keeping = run.failed(Outcome("failed", error.code, error.message, status), error)
        if keeping is not None:
            with suppress(EnginehouseError):  # that is in the log; the caller shall hear what came first
                await asyncio.shield(keeping)
        self._call.write(self._refusal(error, status))

    def _refusal(self, error: EnginehouseError, status: int) -> bytes:
        track = self._run.track
        if self._started:
            writer = track.codec.writer(head_of(track.model.id, wants_usage=False))
            return _chunk(writer.fail(error, status)) + _END
        body = track.codec.write_error(error, status)
        lines = b"".join(b"%b: %b\r\n" % header for header in refusal_headers(error))
        return self._head(lines + b"content-length: %d\r\n" % len(body), status) + body

    # Heads

    def _head(self, kind: bytes, status: int = 200, framing: bytes = b"") -> bytes:
        """The answer's head.

        Args:
            kind: the lines that say what its body is.
            framing: those that say how it is cut, where it comes in pieces.
        """
        run = self._run
        grant = run.grant
        age = b"" if run.look.entry is None else b"age: %d\r\n" % max(0, int(run.at - run.look.entry.asked))
        return b"".join(
            (
                _opening(self._call, status),
                kind,
                b"x-enginehouse-cache: ",
                run.look.tier.encode(),
                b"\r\nx-enginehouse-model: ",
                quoted(run.track.model.id),
                b"\r\n",
                age,
                self._server_timing(),
                b"x-request-id: ",
                run.request_id.encode(),
                b"\r\n",
                _SECURITY,
                b"" if grant is None else grant.lines,
                framing,
                b"\r\n",
            )
        )

    def _server_timing(self) -> bytes:
        """The phases in milliseconds; `gateway` is what none of the others took."""
        run = self._run
        total = run.clock() - run.began
        if run.is_hit:
            return b"server-timing: gateway;dur=%.2f\r\n" % (total * 1000)
        waited = b"server-timing: queue;dur=0.00, load;dur=0.00, "
        engine = run.upstream if run.upstream is not None else run.ttft or 0.0
        own = max(total - engine, 0.0) * 1000
        ttft = b"" if run.ttft is None else b"ttft;dur=%.2f, " % (run.ttft * 1000)
        whole = b"" if run.upstream is None or run.asked.stream else b"upstream;dur=%.2f, " % (run.upstream * 1000)
        return b"%b%b%bgateway;dur=%.2f\r\n" % (waited, ttft, whole, own)


def _said(headers: Sequence[tuple[bytes, bytes]]) -> Sequence[bytes | None] | None:
    """What says something, in the order of `_SAYING`; None when it is not understood here."""
    said: list[bytes | None] = [None, None, None, None]
    for name, value in headers:
        if name in SAYING_NOTHING:
            continue
        place = _SAYING.get(name)
        if place is not None and said[place] is None:
            said[place] = value
        elif not name.startswith(_OTHERS):
            return None
    return said


def _unheard(frames: bytes) -> None:
    """Nobody listens any more."""
    del frames


def _chunk(data: bytes) -> bytes:
    """As chunked transfer writes it."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _opening(call: Call, status: int) -> bytes:
    """How an answer of this status begins."""
    opening = call.opening()
    if status == _OK:
        return opening
    return b"HTTP/1.1 %d %b%b" % (status, HTTPStatus(status).phrase.encode(), opening[opening.index(b"\r\n") :])
