"""The service inside this process, for a chat when none runs: in a thread, on a free loopback port."""

import asyncio
import secrets
import socket
from collections.abc import Generator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Thread
from typing import NamedTuple

import structlog
from pydantic import SecretStr

from enginehouse.app import House
from enginehouse.cli.serve import Server, listen, serve_until_stopped, url_of
from enginehouse.settings.schema import AuthSettings, Settings

__all__ = ["Hosted", "hosted", "private"]

log = structlog.get_logger()

STOP_SECONDS = 2.0
"""What is still running when the chat is left has nobody to read it."""


class Hosted(NamedTuple):
    """The service and how to reach it."""

    house: House
    url: str
    key: str


class _Up(NamedTuple):
    house: House
    server: Server


@contextmanager
def hosted(settings: Settings, environ: Mapping[str, str]) -> Generator[Hosted]:
    """Run the service while the context is open; leaving it stops the engines as well.

    Its loop has a thread of its own, so that a prompt may block this one, and Ctrl-C here is no signal there.

    Raises:
        SettingsError: two models claim one name.
    """
    key = secrets.token_urlsafe(32)
    mine = private(settings, key)
    with listen(mine.server) as listener:
        up: Future[_Up] = Future()
        # Should this thread end without leaving the context, the process ends all the same; engines notice that.
        thread = Thread(target=_run, args=(mine, environ, listener, up), name="service", daemon=True)
        thread.start()
        house, server = up.result()
        try:
            yield Hosted(house, url_of(mine.server, listener), key)
        finally:
            server.stop()
            thread.join()


def private(settings: Settings, key: str) -> Settings:
    """The settings on a free loopback port, open to who has the key and to nobody else."""
    server = settings.server.model_copy(
        update={"host": "127.0.0.1", "port": 0, "drain_delay": 0.0, "shutdown_timeout": STOP_SECONDS},
    )
    auth = AuthSettings(api_keys=(SecretStr(key),), key_secret=settings.auth.key_secret)
    return settings.model_copy(update={"server": server, "auth": auth})


def _run(settings: Settings, environ: Mapping[str, str], listener: socket.socket, up: "Future[_Up]") -> None:
    serving = serve_until_stopped(
        settings, environ, listener, up=lambda house, server: up.set_result(_Up(house, server))
    )
    try:
        asyncio.run(serving)
    except Exception as error:
        if up.done():
            log.exception("service_died")
        else:
            up.set_exception(error)
