"""uvicorn's HTTP connections, which offer to a lane what they can, and tell who serves when a caller leaves.

A request that a lane takes costs no scope, no events and no task (`cli.http.offers`). All else goes uvicorn's way,
with a word that ASGI has not: who wants to know when a caller leaves would have to ask `receive()` all the time, in
a task of its own for each request, which costs a quarter of what a bare answer takes.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import structlog
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from enginehouse.cli.http.heads import LONGEST, KnownHead, known_head
from enginehouse.cli.http.leaving import Flow, Leaving
from enginehouse.cli.http.offers import Offered, Offers

__all__ = ["Connection"]

log = structlog.get_logger()

_AWAITED = 64 * 1024 * 1024
"""Most bytes of bodies that are waited for on all connections; above it applications ask for the rest, or not."""
_AT_ONCE = 16
"""Most requests that are offered of what came at once: a lane may answer at once, while all others wait."""
_ODD = frozenset({b"expect", b"transfer-encoding", b"upgrade"})
"""Who says one of these wants more than an answer."""
_NONE: list[tuple[bytes, bytes]] = []
"""Headers between two requests, when an idle connection shall hold nothing."""


class Connection(HttpToolsProtocol):
    """One connection; what its application is told of its caller's leaving is `scope["leaving"]`.

    Whoever is silent for the keep-alive time without being owed an answer is cut off, and so is who takes longer
    for a head.

    Args:
        config, server_state, app_state, _loop: uvicorn's own.
        offers: what is shared with the others; nothing is offered when left out.
    """

    # uvicorn has nearly as many attributes as CPython keeps cheaply.
    __slots__ = (
        "_between",
        "_coming",
        "_heard",
        "_known",
        "_latest",
        "_offered",
        "_offers",
        "_paths",
        "_running",
        "_since",
        "_timer",
    )

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        offers: Offers | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._offers = offers or Offers()
        # A limit counts tasks; who has one has it for all requests.
        self._paths = self._offers.paths if self.limit_concurrency is None else {}
        self._coming: Offered | None = None
        """The request whose body is not there yet, if it will be offered."""
        self._known: KnownHead | None = None
        """How the caller's requests begin, if one could be offered."""
        self._latest: Offered | None = None
        """What these bytes have brought."""
        self._offered = 0
        """Requests of these bytes that were offered."""
        self._between = True
        """Whether the next byte begins a request."""
        self._running: Offered | RequestResponseCycle | None = None
        """What is owed an answer, and is not queued behind another."""
        self._timer: asyncio.TimerHandle | None = None
        self._heard = self._since = self.loop.time()
        """When something came, and when the wait for a request, or for the rest of its head, began."""

    # What comes in.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody is there."""
        super().connection_made(transport)
        self.flow = Flow(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Some bytes."""
        self._heard = self.loop.time()
        alone = self._between and self._running is None and not self.flow.write_paused
        if alone and self._known is not None and self._is_known(self._known, data):
            return
        self._offered = 0
        super().data_received(data)
        latest, self._latest = self._latest, None
        if latest is not None:
            self._known = known_head(data, latest) if alone else None
        if self._coming is not None and not self._coming.awaited:
            self._await_body(self._coming)

    def on_message_begin(self) -> None:
        """A request; what only ASGI wants of it is made when that gets it."""
        self._between = False
        self.url = b""
        self.headers = []
        self._since = self._heard

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Who may answer is clear."""
        path = self._paths.get(self.url)
        parser: Any = self.parser
        if path is not None and self._suits(parser):
            self._coming = Offered(self, path, self.headers, self._heard, parser.should_keep_alive())
            return
        self.scope = self._new_scope(self.headers)
        if b"expect" in dict(self.headers):
            self.expect_100_continue = (b"expect", b"100-continue") in [
                (name, value.lower()) for name, value in self.headers
            ]
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Some of a body."""
        coming = self._coming
        if coming is not None:
            if coming.body:
                coming.add(body)
            else:
                coming.body = body
        elif self.cycle:
            super().on_body(body)
        else:
            self._since = self._heard  # the rest of a request that has its answer already

    def on_message_complete(self) -> None:
        """All of it is there."""
        self._between = True
        if self._coming is not None:
            self.headers = _NONE
            self._latest = self._has_come()
            self._offered += 1
            self._offer(self._latest)
            return
        if self.cycle:
            super().on_message_complete()
        if not self.parser.should_upgrade():  # type: ignore[union-attr]
            self.headers, self.scope = _NONE, None  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller has left, or has what it wanted."""
        self._give_up_waiting()
        super().connection_lost(exc)
        self.stop_waiting()
        running, self._running = self._running, None
        if isinstance(running, Offered):
            running.leave()
        elif running is not None and not running.response_complete:
            running.disconnected = True
            running.scope["leaving"].tell()  # type: ignore[typeddict-item]

    # A lane's requests.

    def _suits(self, parser: Any) -> bool:
        """Whether it is one that a lane may answer."""
        named = dict(self.headers)
        return (
            self._running is None
            and self._offered < _AT_ONCE
            and not self.flow.write_paused
            and parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and _ODD.isdisjoint(named)
            and 0 <= int(named.get(b"content-length", b"-1")) <= LONGEST
        )

    def _await_body(self, coming: Offered) -> None:
        """The body will take a while."""
        coming.awaited = int(dict(coming.headers)[b"content-length"])
        self._offers.awaited += coming.awaited
        if self._offers.awaited > _AWAITED:
            self._give_up_waiting()

    def _has_come(self) -> Offered:
        coming, self._coming = self._coming, None
        assert coming is not None, "its body was waited for"
        self._offers.awaited -= coming.awaited
        coming.join()
        return coming

    def _give_up_waiting(self) -> None:
        """A request whose body is not there yet is the application's from here on."""
        if self._coming is not None:
            self._hand(self._has_come(), whole=False)

    def _is_known(self, known: KnownHead, data: bytes) -> bool:
        """Whether it is what came before, with another body; then that is offered, and the parser hears nothing."""
        said = known.read(data)
        if said is None:
            return False
        call = Offered(self, known.path, said[0], self._heard, keep_alive=True)
        call.body, call.kept = said[1], known.kept
        self._offer(call)
        known.kept = call.kept
        return True

    def _offer(self, call: Offered) -> None:
        self._running = call
        assert self._offers.lane is not None, "there are paths"
        try:
            if not self._offers.lane.offer(call):
                call.hand_over()
        except Exception:
            log.exception("lane_failed", path=call.path)
            call.fail()

    def opening(self) -> bytes:
        """How an answer begins."""
        return self._offers.opening(self.server_state.default_headers)

    def give(self, call: Offered, **extra: object) -> None:
        """The application answers it after all."""
        self._running = None
        self._hand(call, whole=True, **extra)

    def _hand(self, call: Offered, *, whole: bool, **extra: object) -> None:
        cycle = self._new_cycle(call, extra)
        cycle.body += call.body
        cycle.more_body = not whole
        cycle.disconnected = call.gone
        cycle.message_event.set()
        if not self.cycle:
            self.cycle = cycle
        self._start_asgi_task(cycle, cast("Any", self).app)

    def _new_cycle(self, call: Offered, extra: dict[str, object]) -> RequestResponseCycle:
        """As uvicorn makes it when a head is there."""
        scope = self._new_scope(call.headers)
        path = self.root_path + call.path
        scope.update(method="POST", path=path, raw_path=path.encode(), query_string=b"")
        if extra:
            scope["extensions"] = {"enginehouse": extra}
        return RequestResponseCycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=call.keep_alive,
            on_response=self.on_response_complete,
        )

    def _new_scope(self, headers: Sequence[tuple[bytes, bytes]]) -> Any:
        """uvicorn's; what it keeps of the request that comes now stays as it is."""
        kept = self.url, self.headers, self.scope
        super().on_message_begin()
        scope: Any = self.scope
        scope["headers"] = headers
        self.url, self.headers, self.scope = kept
        return scope

    # Answers.

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if self._running is not None:  # a lane has not answered yet, of which uvicorn does not know
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, app))
            return
        self._running = cycle
        cycle.scope["leaving"] = Leaving(self.flow.resume_reading, cycle.disconnected)  # type: ignore[typeddict-unknown-key]
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Whoever waits behind it is next."""
        self.server_state.total_requests += 1
        if self.cycle is self._running:
            self.cycle = None  # type: ignore[assignment]
        self._running = None
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._wait()

    def shutdown(self) -> None:
        """Who is owed an answer gets it yet."""
        self._give_up_waiting()
        if isinstance(self._running, Offered) and not self.pipeline:
            self._running.keep_alive = False
        else:
            super().shutdown()

    def cut_off(self) -> None:
        """The service waits no longer: a lane's answer that is owed ends now."""
        if isinstance(self._running, Offered):
            self._running.cut()

    def pause_writing(self) -> None:
        """More is unsent than should be."""
        super().pause_writing()
        if isinstance(self._running, Offered):
            self._running.fill(full=True)

    def resume_writing(self) -> None:
        """It has been sent."""
        super().resume_writing()
        if isinstance(self._running, Offered):
            self._running.fill(full=False)

    def handle_websocket_upgrade(self) -> None:
        """Others take over."""
        self.stop_waiting()
        super().handle_websocket_upgrade()

    # Time.

    def _wait(self) -> None:
        """Nobody is owed anything; one timer sees to it that this ends, as often as it begins anew."""
        self._since = self.loop.time()
        if self._timer is None:
            self._timer = self.loop.call_later(self.timeout_keep_alive, self._look)

    def stop_waiting(self) -> None:
        """Leave the connection as it is, for as long as it takes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._running is not None:
            return
        left = self._since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._timer = self.loop.call_later(left, self._look)
        elif self._coming is not None:
            self._give_up_waiting()
        else:
            self.timeout_keep_alive_handler()
