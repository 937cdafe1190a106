"""What identity, limits and the ledger add to a request: in memory and SQLite mode, with keys of each kind."""

import asyncio
import random
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from time import perf_counter, process_time, time

import jwt
from msgspec import Struct

from enginehouse.api.guard import credentials
from enginehouse.core.access import Access
from enginehouse.core.identity.management import Wanted
from enginehouse.core.ledger.books import SqlBooks
from enginehouse.core.ledger.ledger import Ledger
from enginehouse.core.ledger.prices import Prices
from enginehouse.core.ledger.record import UsageRecord
from enginehouse.settings.schema import PriceSettings, Settings
from enginehouse.stores.spool import Spool
from enginehouse.stores.sql import database_url, open_database, prepare
from enginehouse.types import Deployment, EngineName, Kind, Model, Operation, Rate, Rates, Request, Timings, Usage

__all__ = ["AccessCost", "access_costs"]

_SECRET = "a secret that signs the tokens of this bench"
_ENDPOINT = "/v1/chat/completions"
_MANY = 10**9
_SETTINGS = {
    "auth": {"api_keys": ["a key of the settings"], "jwt_secret": _SECRET},
    "limits": {"tiers": {"standard": f"{_MANY}/hour, {_MANY} tokens/minute, 1000 at once"}},
}
_DEPLOYMENT = Deployment(id="m", model="m", kind=Kind.CHAT, engine=EngineName.LLAMA_SERVER)
_MODEL = Model(id="m", kind=Kind.CHAT, deployments=(_DEPLOYMENT,))
_ENGINE = 0.1
"""Seconds, at the mean, for which the engine works when many ask at once: 50 callers are 500 requests a second."""


class AccessCost(Struct, frozen=True, kw_only=True):
    """What one kind of credentials costs a request, in microseconds."""

    name: str
    callers: int
    """How many ask at the same time."""
    entry: float
    """To be known, and counted against the caller's limits; p50."""
    record: float
    """Until the record is durable; p50."""
    p50: float
    """Both together, as they delay a request."""
    p95: float
    cpu: float
    """Mean CPU time of the whole process, its summing up afterwards included."""


class _House(Struct, frozen=True):
    access: Access
    ledger: Ledger


async def access_costs(times: int = 2000, others: int = 1000) -> list[AccessCost]:
    """Identity, limits and ledger together, as a request meets them, for callers with limits of every sort.

    Args:
        times: how many requests of each kind.
        others: how many more keys are stored, so that finding one is no accident.
    """
    async with _house() as house:
        shown = await _credentials(house.access, others)
        return [await _measured(house, name, text, times, callers) for callers in (1, 50) for name, text in shown]


@asynccontextmanager
async def _house() -> AsyncGenerator[_House]:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.model_validate({**_SETTINGS, "data_dir": folder})
        prices = Prices({"m": PriceSettings(input_per_1k="0.001", output_per_1k="0.002")})
        async with open_database(database_url("", Path(folder))) as database:
            await prepare(database)
            with closing(Spool[UsageRecord](Path(folder) / "spool", 1 << 30)) as spool:
                ledger = Ledger(SqlBooks(database), spool, prices, ahead=True)
                async with Access(settings, database) as access, ledger:
                    yield _House(access, ledger)


async def _credentials(access: Access, others: int) -> list[tuple[str, str]]:
    own = Rates(requests=Rate(_MANY, 60), tokens=Rate(_MANY, 60))
    for number in range(others):
        await access.keys.create(Wanted(user_id=f"user-{number}"), "bench")
    _, key = await access.keys.create(Wanted(user_id="ann", limits=own), "bench")
    token = jwt.encode({"sub": "ann", "exp": int(time()) + 3600}, _SECRET, "HS256")
    return [("a key of the settings, no limits", "a key of the settings"), ("a stored key, five limits", key),
            ("a token, three limits", token)]  # fmt: skip


async def _measured(house: _House, name: str, text: str, times: int, callers: int) -> AccessCost:
    headers = [(b"host", b"127.0.0.1"), (b"authorization", f"Bearer {text}".encode())]
    took: list[tuple[float, float]] = []
    chance = random.Random(1)

    async def caller() -> None:
        for _ in range(max(1, times // callers)):  # no two answers take the same time
            took.append(await _one(house, headers, chance.uniform(0, 2 * _ENGINE) if callers > 1 else 0.0))

    used = process_time()
    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())
    cpu = (process_time() - used) * 1_000_000 / len(took)
    took = took[len(took) // 10 :]
    whole = sorted(map(sum, took))
    return AccessCost(
        name=name,
        callers=callers,
        entry=_middle([entry for entry, _ in took]),
        record=_middle([record for _, record in took]),
        p50=_middle(whole),
        p95=whole[int(len(whole) * 0.95)],
        cpu=cpu,
    )


async def _one(house: _House, headers: list[tuple[bytes, bytes]], engine: float) -> tuple[float, float]:
    began = perf_counter()
    principal = await house.access.identity.principal(*credentials(headers))
    asked = Request(
        operation=Operation.CHAT,
        model="m",
        principal=principal,
        request_id="bench",
        timings=Timings(),
    )
    async with house.access.limits.admit(principal, _ENDPOINT) as grant:
        entered = perf_counter() - began
        began = perf_counter()
        async with house.ledger.record(asked, "bench") as entry:
            entry.resolved(_MODEL, _DEPLOYMENT)
            entry.running()
            record = perf_counter() - began
            await asyncio.sleep(engine)
            began = perf_counter()
            entry.usage = Usage(input=100, output=20)
            await entry.settled()
            record += perf_counter() - began
        began = perf_counter()
        grant.spent(120)
    return (entered + perf_counter() - began) * 1_000_000, record * 1_000_000


def _middle(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
