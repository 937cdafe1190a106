"""`enginehouse serve`: run the service until it is told to stop."""

import asyncio
import contextlib
import gc
import math
import signal
import socket
import time
from collections.abc import Callable, Generator, Mapping
from functools import partial
from pathlib import Path

import structlog
import uvicorn

from enginehouse.app import House, open_house
from enginehouse.cli.addresses import address
from enginehouse.cli.banner import show_banner
from enginehouse.cli.catalogue import artifacts_of, configured, fetch
from enginehouse.cli.connections import Connection
from enginehouse.cli.console import remarks
from enginehouse.cli.effective import Effective
from enginehouse.cli.pull import is_optional
from enginehouse.cli.sockets import BoundedSocket
from enginehouse.errors import SettingsError, SourceError
from enginehouse.settings.schema import ServerSettings, Settings
from enginehouse.telemetry.logs import configure_logs

__all__ = ["Server", "listen", "run_service", "serve", "serve_until_stopped", "url_of"]

log = structlog.get_logger()

_MARGIN = 5.0
"""Seconds beyond the engines' own grace for everything else to close."""
_FAREWELL = 5.0
"""Seconds that requests which are cut off have for their last words."""
_LOOKS = (1_000, 20, 1_000)
"""New objects after which the garbage collector looks at these, such looks after which it looks at what outlived
one, and so on: rings that are looked at late cost memory, old objects that are looked at often cost time."""
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
    if pull:
        listen(settings.server).close()  # better told now than after a long download
        _pull(settings)

    def ready(house: House, url: str) -> None:
        show_banner(
            remarks(),
            address(settings.server) or url,
            house.ground.catalogue.models(),
            wants_key=not house.ground.access.identity.open,
        )

    run_service(settings, found.environ, config=found.path, ready=ready)


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
    _take_all_files()
    with listen(settings.server) as listener, asyncio.Runner(loop_factory=_new_loop) as runner:

        def up(house: House, server: Server) -> None:
            for number in _STOP_SIGNALS:
                asyncio.get_running_loop().add_signal_handler(number, server.stop)
            _spare_the_collector()
            url = url_of(settings.server, listener)
            log.info("ready", url=url, docs="/docs", models=len(house.ground.catalogue.models()))
            if ready is not None:
                ready(house, url)

        runner.run(serve_until_stopped(settings, environ, listener, config=config, up=up))


async def serve_until_stopped(
    settings: Settings,
    environ: Mapping[str, str],
    listener: socket.socket,
    *,
    config: Path | None = None,
    up: Callable[[House, "Server"], None],
) -> None:
    """Open the house and serve; `up` gets the house and the server to stop it with.

    Raises:
        SettingsError: the service would be open to strangers, or two models claim one name.
    """
    async with contextlib.AsyncExitStack() as stack:
        house = await stack.enter_async_context(open_house(settings, environ, config=config))
        server = Server(house)
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


class Server(uvicorn.Server):
    """uvicorn without its own signal handling, which would end the process by the signal and not by exit code 0."""

    def __init__(self, house: House) -> None:
        super().__init__(_uvicorn_config(house))
        self._house = house
        self._leaves_at = math.inf

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
        await super().shutdown(sockets)
        await self._cut_off()

    async def _cut_off(self) -> None:
        """What still runs ends while there is a ledger to keep what it took."""
        if left := list(self.server_state.tasks):
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=_FAREWELL)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Ours are installed already."""
        yield


def _uvicorn_config(house: House) -> uvicorn.Config:
    settings = house.settings
    return uvicorn.Config(
        house.asgi,  # pyright: ignore[reportArgumentType] - uvicorn's ASGI types are narrower than the protocol
        http=Connection,
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


def listen(server: ServerSettings) -> socket.socket:
    """The listening socket, bound before anything else is started.

    Raises:
        SettingsError: it cannot be bound; the message says what to do.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)[
            0
        ]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        raise SettingsError(
            f"Cannot listen on {server.host}, port {server.port}: {error.strerror}. Stop what uses it, or choose "
            "another port with --port, PORT or server.port."
        ) from error
    return listener


def url_of(server: ServerSettings, listener: socket.socket) -> str:
    """Where the service can be reached, with the port that was really taken."""
    host = f"[{server.host}]" if ":" in server.host else server.host
    return f"http://{host}:{listener.getsockname()[1]}"


def _take_all_files() -> None:
    """As many connections as the machine allows: the 1,024 of a usual shell are too few for a thousand sockets."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _spare_the_collector() -> None:
    """What stands by now stays: the garbage collector need not look at it again, and not after every request."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_LOOKS)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # not on Windows
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
