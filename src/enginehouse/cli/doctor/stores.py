"""The stores that the settings name: each is asked, and judged by what it says."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from msgspec import Struct
from sqlalchemy import Connection, text

from enginehouse.cli.doctor.finding import Finding, Status
from enginehouse.errors import EnginehouseError, SettingsError
from enginehouse.settings.schema import Settings
from enginehouse.settings.secrecy import without_passwords
from enginehouse.stores.sql import SchemaState, database_url, open_database, schema_state
from enginehouse.stores.vectors.opening import open_vectors, server_url

__all__ = ["RedisSaid", "judge_redis", "judge_schema", "look_at_stores", "together"]

PATIENCE = 6.0
"""Seconds a store may take to answer."""
OLDEST_REDIS, OLDEST_POSTGRES = 6, 14
TOO_FAR = 1.0
"""Seconds by which clocks may differ before somebody should know."""

_REDIS = "redis"
_DATABASE = "database"


class RedisSaid(Struct, frozen=True, kw_only=True):
    """What a Redis says of itself."""

    version: str
    role: str = "master"
    policy: str = "noeviction"
    """What it does when it is full."""
    limit: int = 0
    """Bytes it may take; 0 is all there are."""
    lasting: bool = True
    """Whether it keeps anything over a restart."""
    ahead: float = 0.0
    """Seconds by which its clock is ahead of ours."""


def look_at_stores(settings: Settings) -> Iterator[Finding]:
    """Every store, and whether they fit together."""
    yield asyncio.run(database(settings))
    yield asyncio.run(redis(settings))
    yield asyncio.run(qdrant(settings))
    yield together(settings)


async def database(settings: Settings) -> Finding:
    """The database: whether it answers, its schema, its version and its clock. It is neither made nor changed."""
    try:
        url = database_url(settings.stores.database_url, settings.data_dir)
        if url.get_backend_name() == "sqlite" and not await asyncio.to_thread(Path(url.database or "").exists):
            return Finding(_DATABASE, Status.OK, "SQLite in the data folder, made at the first start")
        async with asyncio.timeout(PATIENCE), open_database(url) as opened:
            found = await schema_state(opened)
            if opened.embedded:
                return judge_schema(found, opened.place, embedded=True)
            asked = time.time()
            version, clock = await opened.read(_postgres)
            ahead = clock - (asked + time.time()) / 2
    except TimeoutError:
        return _away(_DATABASE, f"no answer in {PATIENCE:g} s", "stores.database_url")
    except SettingsError as error:
        return Finding(_DATABASE, Status.FAIL, error.message, "Mend stores.database_url.")
    except EnginehouseError as error:
        return _away(_DATABASE, error.message, "stores.database_url")
    judged = judge_schema(found, f"{opened.place}, version {version}", embedded=False)
    if judged.status is Status.OK and version < OLDEST_POSTGRES:
        return Finding(_DATABASE, Status.WARN, judged.detail, f"Use PostgreSQL {OLDEST_POSTGRES} or newer.")
    return judged if judged.status is not Status.OK else _with_clock(judged, ahead)


def _postgres(connection: Connection) -> tuple[int, float]:
    """Its major version, and its clock in seconds since 1970."""
    row = connection.execute(
        text("SELECT current_setting('server_version_num')::int / 10000, extract(epoch FROM clock_timestamp())")
    ).one()
    return int(row[0]), float(row[1])


def judge_schema(found: SchemaState, place: str, *, embedded: bool) -> Finding:
    """Whether this version can work with the schema."""
    has = f"schema {found.revision}" if found.revision else "no schema yet"
    match found.state:
        case "current":
            return Finding(_DATABASE, Status.OK, f"{place}, {has}")
        case "newer":
            remedy = "Install the newer version, or name another database in stores.database_url."
            return Finding(_DATABASE, Status.FAIL, f"{place} has {has}, which a newer Enginehouse made", remedy)
        case "damaged":
            lacking = f"; it lacks {', '.join(found.missing[:5])}" if found.missing else ""
            remedy = "Restore it from a backup, or name another database in stores.database_url."
            return Finding(_DATABASE, Status.FAIL, f"{place} is half-migrated ({has}){lacking}", remedy)
        case _ if embedded:
            return Finding(_DATABASE, Status.OK, f"{place}, {has}; brought up to date at the next start")
        case _:
            detail = f"{place} has {has}, this version wants {found.head}"
            return Finding(_DATABASE, Status.FAIL, detail, "enginehouse db upgrade")


async def redis(settings: Settings) -> Finding:
    """Redis: whether it answers and takes writes, its version, what it does when it is full, its clock."""
    stores = settings.stores
    if not stores.redis_url:
        if stores.enable_queue:
            remedy = "Set stores.redis_url, or switch stores.enable_queue off."
            return Finding(_REDIS, Status.FAIL, "none, but stores.enable_queue wants one", remedy)
        return Finding(_REDIS, Status.OK, "none; what replicas would share is in this process")
    try:
        from redis.asyncio import Redis
        from redis.exceptions import RedisError
    except ImportError:
        return Finding(_REDIS, Status.FAIL, "its driver is not installed", "pip install 'enginehouse[redis]'")
    try:
        async with asyncio.timeout(PATIENCE), cast("Any", Redis).from_url(stores.redis_url) as client:
            said = await _redis_says(client)
    except TimeoutError:
        return _away(_REDIS, f"no answer in {PATIENCE:g} s", "stores.redis_url")
    except (RedisError, OSError, ValueError) as error:
        return _away(_REDIS, without_passwords(str(error)), "stores.redis_url")
    return judge_redis(said)


async def _redis_says(client: Any) -> RedisSaid:
    info: dict[str, Any] = await client.info()
    asked = time.time()
    seconds, micros = await client.time()
    ahead = seconds + micros / 1e6 - (asked + time.time()) / 2
    return RedisSaid(
        version=str(info.get("redis_version", "0")),
        role=str(info.get("role", "master")),
        policy=str(info.get("maxmemory_policy", "noeviction")),
        limit=int(info.get("maxmemory", 0)),
        lasting=bool(info.get("aof_enabled")) or await _saves(client),
        ahead=ahead,
    )


async def _saves(client: Any) -> bool:
    """Whether it writes snapshots; one that does not tell its settings is taken to do so."""
    from redis.exceptions import RedisError

    try:
        return bool((await client.config_get("save")).get("save", ""))
    except RedisError:
        return True


def judge_redis(said: RedisSaid) -> Finding:
    """Whether what replicas share is safe there."""
    detail = f"version {said.version}"
    if said.role != "master":
        remedy = "Name the master in stores.redis_url: a replica takes no writes."
        return Finding(_REDIS, Status.FAIL, f"{detail}, a replica of another Redis", remedy)
    if int(said.version.partition(".")[0] or 0) < OLDEST_REDIS:
        return Finding(_REDIS, Status.WARN, detail, f"Use Redis {OLDEST_REDIS} or newer.")
    if said.limit and said.policy != "noeviction":
        remedy = "Set maxmemory-policy to noeviction: a full Redis would forget limits and lines of waiters."
        return Finding(_REDIS, Status.WARN, f"{detail}, maxmemory-policy {said.policy}", remedy)
    if not said.lasting:
        remedy = "Switch its appendonly on, if limits shall outlive a restart of Redis."
        return Finding(_REDIS, Status.OK, f"{detail}, keeps nothing over a restart", remedy)
    return _with_clock(Finding(_REDIS, Status.OK, f"{detail}, {said.policy}"), said.ahead)


async def qdrant(settings: Settings) -> Finding:
    """The server of vectors, if there is one."""
    name, url = "qdrant", server_url(settings.qdrant)
    if url is None:
        return Finding(name, Status.OK, "none; vectors are kept by the embedded index")
    shown = without_passwords(url)
    began = time.monotonic()
    try:
        async with asyncio.timeout(PATIENCE), open_vectors(settings) as vectors:
            await vectors.ping()
    except TimeoutError:
        return _away(name, f"{shown}: no answer in {PATIENCE:g} s", "qdrant.url or qdrant.host")
    except EnginehouseError as error:
        return _away(name, f"{shown}: {error.message}", "qdrant.url or qdrant.host")
    return Finding(name, Status.OK, f"{shown} answers in {time.monotonic() - began:.2f} s")


def together(settings: Settings) -> Finding:
    """Whether several replicas on these stores would be one service."""
    name, stores = "replicas", settings.stores
    server = stores.database_url.startswith("postgres")
    if not server and not stores.redis_url:
        return Finding(name, Status.OK, "one process; several want PostgreSQL and Redis")
    lacking = [
        what
        for what, there in (
            ("stores.database_url: usage, keys and conversations would be each replica's own", server),
            ("stores.redis_url: limits and caches would be each replica's own", bool(stores.redis_url)),
            (
                "auth.key_secret: stored keys would be known to one replica only",
                settings.auth.key_secret is not None,
            ),
        )
        if not there
    ]
    if lacking:
        remedy = "Set it before a second replica is started."
        return Finding(name, Status.WARN, f"not set: {'; '.join(lacking)}", remedy)
    lines = "lines of servers elsewhere are shared" if stores.enable_queue else "each has lines of its own"
    return Finding(name, Status.OK, f"any number; {lines}")


def _away(name: str, why: str, key: str) -> Finding:
    return Finding(name, Status.FAIL, why, f"Start it, check the network and the password, or mend {key}.")


def _with_clock(finding: Finding, ahead: float) -> Finding:
    """The same, and what its clock says."""
    if abs(ahead) <= TOO_FAR:
        return Finding(finding.name, finding.status, f"{finding.detail}, clocks agree")
    direction = "ahead of" if ahead > 0 else "behind"
    detail = f"{finding.detail}, its clock is {abs(ahead):.1f} s {direction} this machine's"
    return Finding(finding.name, Status.WARN, detail, "Let both machines take the time from one source (NTP).")
