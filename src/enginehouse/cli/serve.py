"""`enginehouse serve`: run the service until it is told to stop."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Generator, Mapping
from pathlib import Path

import structlog
import uvicorn

from enginehouse.app import House, open_house
from enginehouse.errors import SettingsError
from enginehouse.settings.schema import ServerSettings, Settings

__all__ = ["listen", "run_service", "url_of"]

log = structlog.get_logger()

_MARGIN = 5.0
"""Seconds beyond the engines' own grace for everything else to close."""
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run_service(settings: Settings, environ: Mapping[str, str], *, config: Path | None = None) -> None:
    """Serve until SIGTERM or SIGINT; running streams end first, a second signal cuts them off.

    Raises:
        SettingsError: the port is taken, or the service would be open to strangers.
    """
    with listen(settings.server) as listener, asyncio.Runner(loop_factory=_new_loop) as runner:
        runner.run(_serve(settings, environ, config, listener))


async def _serve(
    settings: Settings, environ: Mapping[str, str], config: Path | None, listener: socket.socket
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        house = await stack.enter_async_context(open_house(settings, environ, config=config))
        server = _Server(_uvicorn_config(house, settings.server))
        loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, server.stop)
        log.info("ready", url=url_of(settings.server, listener), docs="/docs", models=len(house.catalogue.models()))
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


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling, which would end the process by the signal and not by exit code 0."""

    def stop(self) -> None:
        """First call: accept nothing more and let what runs end. Second: cut it off."""
        self.force_exit = self.should_exit
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Ours are installed already."""
        yield


def _uvicorn_config(house: House, server: ServerSettings) -> uvicorn.Config:
    return uvicorn.Config(
        house.asgi,  # pyright: ignore[reportArgumentType] - uvicorn's ASGI types are narrower than the protocol
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=round(server.shutdown_timeout),
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


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # not on Windows
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
