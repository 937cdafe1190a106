"""One process of several on a port: the owner, or a worker; started by `crew`, which writes its orders to it."""

import asyncio
import os
import pickle
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path

import structlog

from enginehouse.app import House
from enginehouse.app.workers import Desk, Services, Worker, open_worker
from enginehouse.cli.crew import REFUSED, Orders
from enginehouse.cli.handover import HandedOver, Handing, Porter, Reception
from enginehouse.cli.serve import Server, run_in_loop, serve_until_stopped, take_all_files, url_of, welcome
from enginehouse.errors import EnginehouseError
from enginehouse.telemetry.logs import configure_logs

__all__ = ["main"]

log = structlog.get_logger()


def main() -> None:
    """Read the orders and follow them; exit code `REFUSED` says that this process could not come up."""
    size = int.from_bytes(sys.stdin.buffer.read(8))
    orders: Orders = pickle.loads(sys.stdin.buffer.read(size))  # noqa: S301 - our parent's own
    settings = orders.settings
    configure_logs("debug" if settings.server.debug else settings.log.level, settings.log.format, for_good=True)
    take_all_files()
    try:
        with socket.socket(fileno=orders.listener) as listener:
            run_in_loop(_owner(orders, listener) if orders.number == 1 else _worker(orders, listener))
    except EnginehouseError as error:
        sys.stderr.write(f"enginehouse: {error.message}\n")
        sys.exit(REFUSED)


async def _owner(orders: Orders, listener: socket.socket) -> None:
    """The whole service, which workers ask."""

    def up(house: House, server: Server) -> None:
        server.hear_signals()
        _end_with_the_crew(server)
        url = url_of(orders.settings.server, listener)
        models = len(house.ground.catalogue.models())
        log.info("ready", url=url, docs="/docs", models=models, workers=orders.of)
        welcome(house, url)

    beside = partial(_desk, orders.folder)
    await serve_until_stopped(orders.settings, orders.environ, listener, config=orders.config, up=up, beside=beside)


@asynccontextmanager
async def _desk(folder: Path, house: House, server: Server) -> AsyncGenerator[None]:
    """Where workers ask, and hand connections over."""
    services = Services(house.ground, house.rooms)
    made = partial(HandedOver, config=server.config, server_state=server.server_state, app_state={})
    async with (
        Desk(folder / "desk", services) as desk,
        services.serving(desk),
        Reception(folder / "reception", lambda read: made(read=read)),
    ):

        async def look() -> None:
            services.show_models(desk)
            await desk.look()

        house.asgi.tell_of_changes(look)
        house.ground.ledger.waits_for(desk.carry)
        server.waits_for(desk.deserted)
        yield


async def _worker(orders: Orders, listener: socket.socket) -> None:
    """One that takes requests off the owner's hands."""
    async with open_worker(orders.settings, orders.folder, orders.number) as worker, _following(worker, orders):
        with closing(Porter(orders.folder / "reception")) as porter:
            hot = frozenset(path.encode() for path in worker.hot)
            server = Server(worker, partial(Handing, porter=porter, hot=hot))
            server.hear_signals()
            _end_with_the_crew(server)
            log.info("worker_ready", number=orders.number)
            await server.serve(sockets=[listener])


@asynccontextmanager
async def _following(worker: Worker, orders: Orders) -> AsyncGenerator[None]:
    """Edits of the configuration count here as well."""
    if orders.config is None:
        yield
        return
    async with asyncio.TaskGroup() as group:
        task = group.create_task(worker.follow(orders.config, orders.environ), name="settings")
        try:
            yield
        finally:
            task.cancel()


def _end_with_the_crew(server: Server) -> None:
    """When the one that started us has died, nobody else would stop us."""
    loop = asyncio.get_running_loop()

    def heard() -> None:
        if not os.read(sys.stdin.fileno(), 1):
            loop.remove_reader(sys.stdin.fileno())
            server.stop()

    loop.add_reader(sys.stdin.fileno(), heard)


if __name__ == "__main__":
    main()
