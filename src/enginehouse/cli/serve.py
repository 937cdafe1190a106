"""`enginehouse serve`: run the service until it is told to stop."""

import asyncio
import contextlib
import math
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import structlog
import uvicorn

from enginehouse.api.dispatch import FrontDoor
from enginehouse.app import House, open_house
from enginehouse.cli import collecting
from enginehouse.cli.addresses import address
from enginehouse.cli.banner import show_banner
from enginehouse.cli.catalogue import artifacts_of, configured, fetch
from enginehouse.cli.console import remarks
from enginehouse.cli.crew import run_crew
from enginehouse.cli.effective import Effective
from enginehouse.cli.http import Connection, Offers
from enginehouse.cli.pull import is_optional
from enginehouse.cli.sockets import BoundedSocket
from enginehouse.errors import SettingsError, SourceError
from enginehouse.settings.schema import ServerSettings, Settings
from enginehouse.telemetry.logs import configure_logs

__all__ = [
    "Served",
    "Server",
    "listen",
    "listen_together",
    "run_in_loop",
    "run_service",
    "serve",
    "serve_until_stopped",
    "take_all_files",
    "url_of",
    "welcome",
]

log = structlog.get_logger()

_MARGIN = 5.0
"""Seconds beyond the engines' own grace for everything else to close."""
_FAREWELL = 5.0
"""Seconds that requests which are cut off have for their last words."""
_TURN = 0.001
"""Seconds for which a thread has the interpreter before others have a turn: with the usual 0.005 the event loop
waits for as long whenever records are carried into SQLite, and the slowest requests with it."""
_FILES = 65_536
"""Most files and connections that are open at a time, where the machine allows as many."""
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def serve(found: Effective, *, pull: bool) -> None:
    """The command: logs as the settings want them, files fetched first if that was asked for, then the service.

    Raises:
        SettingsError: the port is taken, or the service would be open to strangers.
    """
    settings = found.settings
    level = "debug" if settings.server.debug else settings.log.level
    configure_logs(level, settings.log.format, for_good=True)
    if pull or settings.server.workers > 1:
        collecting.go_on()  # it is long until this process serves, if it ever does
    if pull:
        listen(settings.server).close()  # better told now than after a long download
        _pull(settings)
    if settings.server.workers > 1:
        with contextlib.ExitStack() as stack:
            listeners = [stack.enter_context(one) for one in listen_together(settings.server)]
            sys.exit(run_crew(settings, found.environ, listeners, found.path))
    run_service(settings, found.environ, config=found.path, ready=welcome)


def welcome(house: House, url: str) -> None:
    """Tell a person on a terminal that it is up."""
    show_banner(
        remarks(),
        address(house.settings.server) or url,
        house.ground.catalogue.models(),
        wants_key=not house.ground.access.identity.open,
    )


def _pull(settings: Settings) -> None:
    """Bring the models' files here; what cannot be had is told, and no reason not to serve the rest."""
    artifacts = artifacts_of(settings)
    for model in configured(settings).models():
        if is_optional(model):
            continue
        try:
            fetch(model, artifacts)
        except SourceError as error:
            log.warning("pull_failed", model=model.id, reason=error.message)


def run_service(
    settings: Settings,
    environ: Mapping[str, str],
    *,
    config: Path | None = None,
    ready: Callable[[House, str], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; running streams end first, a second signal cuts them off.

    Args:
        settings: the effective configuration.
        environ: the environment, for engine processes and for reading the configuration again.
        config: the file to watch for edits, if there is one.
        ready: told the house and its URL when requests are taken.

    Raises:
        SettingsError: the port is taken, or the service would be open to strangers.
    """
    take_all_files()
    with listen(settings.server) as listener:

        def up(house: House, server: Server) -> None:
            server.hear_signals()
            url = url_of(settings.server, listener)
            log.info("ready", url=url, docs="/docs", models=len(house.ground.catalogue.models()))
            if ready is not None:
                ready(house, url)

        run_in_loop(serve_until_stopped(settings, environ, listener, config=config, up=up))


def run_in_loop(work: Coroutine[Any, Any, None]) -> None:
    """Run it to its end, in the quickest loop there is."""
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        runner.run(work)


async def serve_until_stopped(
    settings: Settings,
    environ: Mapping[str, str],
    listener: socket.socket,
    *,
    config: Path | None = None,
    up: Callable[[House, "Server"], None],
    beside: "Beside | None" = None,
) -> None:
    """Open the house and serve; `up` gets the house and the server to stop it with.

    Args:
        beside: opened after the house, and closed before it.

    Raises:
        SettingsError: the service would be open to strangers, or two models claim one name.
    """
    async with contextlib.AsyncExitStack() as stack:
        house = await stack.enter_async_context(open_house(settings, environ, config=config))
        server = Server(house, partial(Connection, offers=Offers(house.lane)))
        if beside is not None:
            await stack.enter_async_context(beside(house, server))
        up(house, server)
        await server.serve(sockets=[listener])
        log.info("stopping")
        await _close(stack, 0 if server.force_exit else settings.residency.stop_grace + _MARGIN)


async def _close(stack: contextlib.AsyncExitStack, seconds: float) -> None:
    """Take the house down; what has not ended after so many seconds is cancelled, and its engines killed."""
    try:
        async with asyncio.timeout(seconds):
            await stack.aclose()
    except TimeoutError:
        log.warning("stopped_with_work_left")


class Served(Protocol):
    """What answers: the house, or a worker."""

    settings: Settings
    leaving: asyncio.Event
    stopping: asyncio.Event

    @property
    def asgi(self) -> FrontDoor:
        """Its door."""
        ...


Beside = Callable[[House, "Server"], contextlib.AbstractAsyncContextManager[None]]


class Server(uvicorn.Server):
    """uvicorn without its own signal handling, which would end the process by the signal and not by exit code 0."""

    def __init__(self, house: Served, protocol: Callable[..., asyncio.Protocol] = Connection) -> None:
        super().__init__(_uvicorn_config(house, protocol))
        self._house = house
        self._leaves_at = math.inf
        self._others: Callable[[float], Awaitable[None]] | None = None

    def hear_signals(self) -> None:
        """Stop when the process is told to; what stands by now stays for as long."""
        for number in _STOP_SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self.stop)
        collecting.spare_what_stands()
        _take_short_turns()

    def waits_for(self, others: Callable[[float], Awaitable[None]]) -> None:
        """Before it is over, others end, in so many seconds at most."""
        self._others = others

    def stop(self) -> None:
        """First call: say so, serve on for a moment, then accept nothing more and let what runs end.

        Second: cut it off. Any thread may call it.
        """
        self.force_exit = self._house.leaving.is_set()
        self._house.leaving.set()
        delay = 0.0 if self.force_exit else self._house.settings.server.drain_delay
        if delay:
            log.info("draining", seconds=delay)
        self._leaves_at = time.monotonic() + delay

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether it is time to go."""
        self.should_exit = self.should_exit or time.monotonic() >= self._leaves_at
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Endless streams end at once, requests within their time."""
        self._house.stopping.set()
        await asyncio.gather(super().shutdown(sockets), self._others_ended())
        await self._cut_off()

    async def _others_ended(self) -> None:
        if self._others is not None:
            await self._others(0 if self.force_exit else self._house.settings.server.shutdown_timeout + _FAREWELL)

    async def _cut_off(self) -> None:
        """What still runs ends while there is a ledger to keep what it took."""
        for connection in list(self.server_state.connections):
            if isinstance(connection, Connection):
                connection.cut_off()
        if left := list(self.server_state.tasks):
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=_FAREWELL)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Ours are installed already."""
        yield


def _uvicorn_config(house: Served, protocol: Callable[..., asyncio.Protocol]) -> uvicorn.Config:
    settings = house.settings
    return uvicorn.Config(
        house.asgi,  # pyright: ignore[reportArgumentType] - uvicorn's ASGI types are narrower than the protocol
        http=protocol,  # pyright: ignore[reportArgumentType] - any maker will do
        ws=partial(BoundedSocket, bounds=settings.chat),  # pyright: ignore[reportArgumentType] - any maker will do
        ws_max_size=settings.chat.max_message_bytes,
        ws_ping_interval=settings.server.ping_interval,
        ws_ping_timeout=settings.server.ping_interval,
        ws_per_message_deflate=False,  # it would cost each socket more memory than all else
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=round(settings.server.shutdown_timeout),
    )


def listen(server: ServerSettings, *, together: bool = False) -> socket.socket:
    """The listening socket, bound before anything else is started.

    Args:
        together: whether others of ours listen on the port as well.

    Raises:
        SettingsError: it cannot be bound; the message says what to do.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)[
            0
        ]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if together:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        raise SettingsError(
            f"Cannot listen on {server.host}, port {server.port}: {error.strerror}. Stop what uses it, or choose "
            "another port with --port, PORT or server.port."
        ) from error
    return listener


def listen_together(server: ServerSettings) -> list[socket.socket]:
    """A listening socket for each of several processes, all on one port.

    Raises:
        SettingsError: it cannot be bound, or this system does not share a port.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise SettingsError("server.workers: processes cannot share a port on this system; leave it at 1.")
    listen(server).close()  # a port that somebody else shares is not ours
    first = listen(server, together=True)
    port = server.model_copy(update={"port": first.getsockname()[1]})
    return [first, *(listen(port, together=True) for _ in range(server.workers - 1))]


def url_of(server: ServerSettings, listener: socket.socket) -> str:
    """Where the service can be reached, with the port that was really taken."""
    host = f"[{server.host}]" if ":" in server.host else server.host
    return f"http://{host}:{listener.getsockname()[1]}"


def take_all_files() -> None:
    """As many connections as the machine allows: the 1,024 of a usual shell are too few for a thousand sockets."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _take_short_turns() -> None:
    """Threads that have much to do let the event loop go first sooner."""
    sys.setswitchinterval(_TURN)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # not on Windows
        return asyncio.new_event_loop()

    class Loop(uvloop.Loop):
        """One whose clock goes on within a turn, and tells more than milliseconds: phases are measured by it."""

        time = staticmethod(time.monotonic)  # pyright: ignore[reportAssignmentType] - called as any method

    return Loop()
