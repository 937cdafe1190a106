"""What identity and limits cost a request: in memory and SQLite mode, and the same with keys of each kind."""

import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter, time

import jwt
from msgspec import Struct

from enginehouse.api.guard import credentials
from enginehouse.core.access import Access
from enginehouse.core.identity.management import Wanted
from enginehouse.settings.schema import Settings
from enginehouse.stores.sql import database_url, open_database, prepare
from enginehouse.types import Rate, Rates

__all__ = ["AccessCost", "access_costs"]

_SECRET = "a secret that signs the tokens of this bench"
_ENDPOINT = "/v1/chat/completions"
_MANY = 10**9
_SETTINGS = {
    "auth": {"api_keys": ["a key of the settings"], "jwt_secret": _SECRET},
    "limits": {"tiers": {"standard": f"{_MANY}/hour, {_MANY} tokens/minute, 1000 at once"}},
}


class AccessCost(Struct, frozen=True, kw_only=True):
    """What one kind of credentials costs a request, in microseconds: to be known, counted, and to settle."""

    name: str
    p50: float
    p95: float


async def access_costs(times: int = 5000, others: int = 1000) -> list[AccessCost]:
    """Identity and limits together, as the front door calls them, for callers with limits of every sort.

    Args:
        times: how many requests of each kind.
        others: how many more keys are stored, so that finding one is no accident.
    """
    async with _access() as access:
        shown = await _credentials(access, others)
        return [await _measured(access, name, text, times) for name, text in shown]


@asynccontextmanager
async def _access() -> AsyncGenerator[Access]:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.model_validate({**_SETTINGS, "data_dir": folder})
        async with open_database(database_url("", Path(folder))) as database:
            await prepare(database)
            async with Access(settings, database) as access:
                yield access


async def _credentials(access: Access, others: int) -> list[tuple[str, str]]:
    own = Rates(requests=Rate(_MANY, 60), tokens=Rate(_MANY, 60))
    for number in range(others):
        await access.keys.create(Wanted(user_id=f"user-{number}"), "bench")
    _, key = await access.keys.create(Wanted(user_id="ann", limits=own), "bench")
    token = jwt.encode({"sub": "ann", "exp": int(time()) + 3600}, _SECRET, "HS256")
    return [("a key of the settings, no limits", "a key of the settings"), ("a stored key, five limits", key),
            ("a token, three limits", token)]  # fmt: skip


async def _measured(access: Access, name: str, text: str, times: int) -> AccessCost:
    headers = [(b"host", b"127.0.0.1"), (b"authorization", f"Bearer {text}".encode())]
    took = sorted([await _one(access, headers) for _ in range(times)][times // 10 :])
    return AccessCost(name=name, p50=took[len(took) // 2], p95=took[int(len(took) * 0.95)])


async def _one(access: Access, headers: list[tuple[bytes, bytes]]) -> float:
    began = perf_counter()
    principal = await access.identity.principal(*credentials(headers))
    async with access.limits.admit(principal, _ENDPOINT) as grant:
        grant.spent(100)
    return (perf_counter() - began) * 1_000_000
