"""The routes of usage: whose it is, what they answer, and as what."""

from datetime import UTC, datetime

import pytest

from enginehouse.api.dispatch import FrontDoor
from enginehouse.api.framework import framework_app
from enginehouse.api.usage import usage_router
from enginehouse.core.ledger.books import SqlBooks
from enginehouse.core.ledger.usage import UsageReports
from enginehouse.stores.sql import database_url, open_database, prepare
from enginehouse.testing import Caller
from enginehouse.types import Principal
from tests.ledger_contract import record

ADMIN = Principal(user="root", role="admin")
ANN = Principal(user="ann")
USAGE = "/v1/llm/usage?start_date=2024-01-01&end_date=2024-01-31"


class Known:
    """An identity that everybody has."""

    def __init__(self, principal):
        self._principal = principal

    open = False

    async def principal(self, *_):
        return self._principal


@pytest.fixture
async def ask(tmp_path):
    async with open_database(database_url("", tmp_path)) as database:
        await prepare(database)
        await SqlBooks(database).write(
            [
                record(cost=25_500_000_000_000),
                record(day=2, user_id="bob", model="vec", operation="embedding", cost=10**8),
                record(day=3, user_id="=bob", cost=None, price=None),
            ]
        )
        rest = framework_app([usage_router(UsageReports(database))])

        async def call(path, principal=ADMIN, **headers):
            from enginehouse.settings.schema import ServerSettings

            door = FrontDoor({}, rest, Known(principal), ServerSettings())
            return await Caller(door, "GET", path, b"", headers).run()

        yield call


async def test_the_documented_body(ask):
    answer = await ask(USAGE)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body["total_requests"] == 3
    assert body["total_tokens"] == 45
    assert body["total_cost"] == 25.5001
    assert body["requests_by_model"] == {"m": 2, "vec": 1}
    assert body["cost_by_model"] == {"m": 25.5, "vec": 0.0001}
    assert body["daily_usage"][0] == {"date": "2024-01-01", "requests": 1, "cost": 25.5, "tokens": 15}
    assert body["daily_usage"][2]["cost"] is None
    assert body["unpriced_requests"] == 1
    assert "groups" not in body


async def test_money_is_written_with_all_its_digits(ask):
    assert b'"total_cost":25.5001,' in (await ask(USAGE)).body


async def test_embeddings_alone(ask):
    body = (await ask(USAGE.replace("usage", "embedding-usage"))).json()
    assert (body["total_requests"], body["requests_by_model"]) == (1, {"vec": 1})


async def test_everybody_sees_their_own_and_only_that(ask):
    assert (await ask(USAGE, ANN)).json()["total_requests"] == 1
    assert (await ask(USAGE + "&user_id=ann", ANN)).json()["total_requests"] == 1
    refused = await ask(USAGE + "&user_id=bob", ANN)
    assert (refused.status, refused.json()["error"]["code"]) == (403, "permission_denied")
    for by in ("user", "model", "day", "hour", "key", "tenant", "tag"):
        groups = (await ask(f"{USAGE}&group_by={by}", ANN)).json()["groups"]
        assert sum(group["requests"] for group in groups) <= 1
        assert "bob" not in str(groups)
    assert b"bob" not in (await ask(f"{USAGE}&group_by=user", ANN, accept="text/csv")).body


async def test_an_admin_sees_anybodys(ask):
    assert (await ask(USAGE + "&user_id=bob")).json()["total_requests"] == 1
    groups = (await ask(USAGE + "&group_by=user")).json()["groups"]
    assert [group["user"] for group in groups] == ["ann", "bob", "=bob"]


async def test_csv_is_for_spreadsheets(ask):
    answer = await ask(USAGE + "&group_by=user", accept="text/csv")
    assert answer.headers["content-type"].startswith("text/csv")
    header, *lines = answer.body.decode().splitlines()
    assert header.split(",")[:3] == ["user", "requests", "input_tokens"]
    assert [line.split(",")[0] for line in lines] == ["ann", "bob", "'=bob"]
    cost = header.split(",").index("cost")
    assert [line.split(",")[cost] for line in lines] == ["25.5", "0.0001", ""]
    days = (await ask(USAGE, accept="text/csv")).body.decode().splitlines()
    assert [line.split(",")[0] for line in days] == ["day", "2024-01-01", "2024-01-03", "2024-01-04"]


@pytest.mark.parametrize(
    ("query", "param"),
    [("start_date=soon", "start_date"), ("group_by=colour", "group_by"), ("end_date=2024-13-01", "end_date")],
)
async def test_mistakes_are_named(ask, query, param):
    answer = await ask(f"/v1/llm/usage?{query}")
    assert (answer.status, answer.json()["error"]["param"]) == (400, param)


async def test_without_dates_it_is_the_last_thirty_days(ask):
    body = (await ask("/v1/llm/usage")).json()
    days = datetime.fromisoformat(body["end"]) - datetime.fromisoformat(body["start"])
    assert days.days == 30
    assert datetime.fromisoformat(body["start"]) < datetime.now(UTC) < datetime.fromisoformat(body["end"])
    assert body["total_requests"] == 0
    assert body["total_cost"] == 0
