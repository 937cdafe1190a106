"""What the doctor makes of what stores and servers say of themselves."""

import pytest
from pydantic import SecretStr

from enginehouse import __version__
from enginehouse.cli.doctor.finding import Status
from enginehouse.cli.doctor.fleet import judge_fleet
from enginehouse.cli.doctor.servers import judge_server
from enginehouse.cli.doctor.stores import RedisSaid, judge_redis, judge_schema, together
from enginehouse.residency.fleet.views import Surveyed
from enginehouse.settings.schema import AuthSettings, Settings, StoreSettings
from enginehouse.stores.sql import SchemaState
from enginehouse.types import Deployment, EngineName, Kind, Model

OK, WARN, FAIL = Status.OK, Status.WARN, Status.FAIL
HEALTHY = {"version": "8.2.1"}


@pytest.mark.parametrize(
    ("said", "status", "words"),
    [
        ({}, OK, "clocks agree"),
        ({"version": "5.0.7"}, WARN, "version 5.0.7"),
        ({"role": "slave"}, FAIL, "a replica of another Redis"),
        ({"policy": "allkeys-lru"}, OK, "allkeys-lru"),
        ({"policy": "allkeys-lru", "limit": 1 << 30}, WARN, "maxmemory-policy allkeys-lru"),
        ({"policy": "noeviction", "limit": 1 << 30}, OK, "noeviction"),
        ({"lasting": False}, OK, "keeps nothing over a restart"),
        ({"ahead": 0.9}, OK, "clocks agree"),
        ({"ahead": -3.0}, WARN, "its clock is 3.0 s behind this machine's"),
        ({"ahead": 3.0}, WARN, "its clock is 3.0 s ahead of this machine's"),
    ],
)
def test_redis(said, status, words):
    found = judge_redis(RedisSaid(**HEALTHY | said))
    assert (found.status, words in found.detail) == (status, True)
    assert bool(found.remedy) == (status is not OK or "nothing" in words)


@pytest.mark.parametrize(
    ("state", "embedded", "status", "remedy"),
    [
        ("current", False, OK, ""),
        ("empty", False, FAIL, "enginehouse db upgrade"),
        ("older", False, FAIL, "enginehouse db upgrade"),
        ("older", True, OK, ""),
        ("newer", True, FAIL, "Install the newer version"),
        ("damaged", False, FAIL, "Restore it from a backup"),
    ],
)
def test_a_schema(state, embedded, status, remedy):
    found = judge_schema(SchemaState(state=state, revision="0003", head="0009"), "PostgreSQL", embedded=embedded)
    assert found.status is status
    assert found.remedy.startswith(remedy)
    assert bool(found.remedy) == bool(remedy)


@pytest.mark.parametrize(
    ("database", "redis", "secret", "status", "words"),
    [
        ("", "", None, OK, "one process"),
        ("postgresql://h/d", "redis://h", "k" * 32, OK, "any number"),
        ("postgresql://h/d", "", "k" * 32, WARN, "stores.redis_url"),
        ("", "redis://h", "k" * 32, WARN, "stores.database_url"),
        ("postgresql://h/d", "redis://h", None, WARN, "auth.key_secret"),
    ],
)
def test_whether_several_replicas_would_be_one_service(database, redis, secret, status, words):
    stores = StoreSettings(database_url=database, redis_url=redis)
    auth = AuthSettings(key_secret=None if secret is None else SecretStr(secret))
    found = together(Settings(stores=stores, auth=auth))
    assert (found.status, words in found.detail) == (status, True)


def places(*names, engine=EngineName.OLLAMA):
    return [
        Deployment(
            id=name,
            model=name,
            kind=Kind.CHAT,
            engine=engine,
            base_url="http://ann:secret@gpu1:11434",
            api_key="sk-secret",
            upstream_model=name,
        )
        for name in names
    ]


@pytest.mark.parametrize(
    ("known", "answered", "status", "remedy"),
    [
        (["a", "b:latest"], 200, OK, ""),
        (["a"], 200, WARN, "ollama pull b"),
        (None, 200, OK, ""),
        (None, 401, FAIL, "Mend the api_key of 'a'."),
        (None, 404, OK, ""),
        (None, 503, FAIL, "Start it, check the network, or mend the base_url of 'a'."),
        (None, None, FAIL, "Start it, check the network, or mend the base_url of 'a'."),
    ],
)
def test_a_server(known, answered, status, remedy):
    found = judge_server(places("a", "b"), known, "answers", answered)
    assert (found.status, found.remedy) == (status, remedy)
    assert "secret" not in found.detail


def node(host="10.0.0.2", **more):
    return Surveyed(**{"host": host, "ram": 8 * 10**9, "version": __version__, **more})


def labelled(*ids, **labels):
    """Models for a fleet's engines."""
    return [
        Model(
            id=id_,
            kind=Kind.CHAT,
            deployments=(
                Deployment(
                    id=id_, model=id_, kind=Kind.CHAT, engine=EngineName.LLAMA_SERVER, labels=tuple(labels.items())
                ),
            ),
        )
        for id_ in ids
    ]


HEAD = node("10.0.0.1", takes_engines=False, labels={"enginehouse": "off"})
H100 = node(labels={"accelerator": "h100"})


@pytest.mark.parametrize(
    ("nodes", "models", "autoscale", "found"),
    [
        (
            [HEAD, H100],
            labelled("a", accelerator="h100"),
            False,
            [(OK, "2 nodes, 1 for engines, 8.0 GB of memory")],
        ),
        ([HEAD, node()], labelled("a"), False, [(OK, "2 nodes")]),
        (
            [HEAD, node()],
            labelled("a", "b", accelerator="h100"),
            False,
            [(FAIL, "=h100 that a, b want"), (OK, "2")],
        ),
        ([HEAD, node()], labelled("a", accelerator="h100"), True, [(WARN, "=h100 that a wants"), (OK, "2")]),
        ([HEAD, node()], labelled("a", enginehouse="off"), False, [(FAIL, "labels enginehouse=off"), (OK, "2")]),
        ([HEAD], [], False, [(FAIL, "1 node, and none takes engines")]),
        ([HEAD], [], True, [(OK, "1 node, 0 for engines")]),
        ([node(version="0.0.1")], [], False, [(FAIL, f"has Enginehouse 0.0.1, here is {__version__}"), (OK, "1")]),
        ([node(version=None, fault="No module")], [], False, [(FAIL, "could not be asked: No module"), (OK, "1")]),
        ([node(niceness=15)], [], False, [(WARN, "run at niceness 15"), (OK, "1")]),
        ([HEAD, H100, node(takes_engines=False, niceness=15)], [], False, [(OK, "3 nodes, 1 for engines")]),
    ],
)
def test_a_fleet(nodes, models, autoscale, found):
    told = list(judge_fleet(nodes, models, autoscale=autoscale))
    assert [one.status for one in told] == [status for status, _ in found]
    for one, (status, words) in zip(told, found, strict=True):
        assert words in one.detail
        assert bool(one.remedy) == (status is not OK)
