"""`enginehouse usage` and `enginehouse db` on an embedded database."""

import asyncio
import csv
import io
import json

import pytest
from typer.testing import CliRunner

from enginehouse.cli import app
from enginehouse.cli.database import run_status, run_upgrade
from enginehouse.cli.usage.run import Range, run_export, run_reprice, run_summary
from enginehouse.cli.usage.savings import run_savings
from enginehouse.core.ledger.books import SqlBooks
from enginehouse.errors import InvalidRequest, SettingsError
from enginehouse.settings.schema import Settings
from enginehouse.stores.sql import database_url, open_database, prepare
from tests.ledger_contract import record

JANUARY = Range("2024-01-01", "2024-01-31", None)


@pytest.fixture
def settings(tmp_path):
    prices = {"input_per_1k": "1", "output_per_1k": "2"}
    return Settings.model_validate(
        {"data_dir": str(tmp_path), "models": {"m": {"price": prices, "base_url": "http://127.0.0.1:9"}}}
    )


@pytest.fixture
def seeded(settings, tmp_path):
    async def seed():
        async with open_database(database_url("", tmp_path)) as database:
            await prepare(database)
            rows = [record(day=d, user_id=u, cost=None, price=None) for d in range(4) for u in ("ann", "=bob")]
            await SqlBooks(database).write(rows)

    asyncio.run(seed())
    return settings


@pytest.fixture
def said(capsys):
    """What was printed since the last time."""
    return lambda: capsys.readouterr().out


def test_a_database_that_is_not_there_is_told_and_made(settings, said):
    assert run_status(settings, as_json=False) == 1
    assert "no schema" in said()
    assert run_upgrade(settings, as_json=False) == 0
    said()
    assert run_status(settings, as_json=True) == 0
    state = json.loads(said())
    assert (state["state"], state["revision"]) == ("current", state["head"])


def test_nothing_is_asked_of_a_schema_that_is_not_ours(settings):
    with pytest.raises(SettingsError, match="no schema yet"):
        run_summary(settings, JANUARY, group_by="model", as_json=False)


def test_summary_is_a_table_or_json(seeded, said):
    said()
    run_summary(seeded, JANUARY, group_by="user", as_json=False)
    shown = said()
    assert [line.split()[:2] for line in shown.splitlines()] == [["User", "Requests"], ["=bob", "4"], ["ann", "4"]]
    assert "unknown" in shown
    run_summary(seeded, JANUARY, group_by="model", as_json=True)
    body = json.loads(said())
    assert (body["total_requests"], body["total_cost"], body["group_by"]) == (8, None, "model")
    run_summary(seeded, JANUARY._replace(user="ann"), group_by="model", as_json=True)
    assert json.loads(said())["total_requests"] == 4


def test_savings_are_a_table_with_its_arithmetic_or_json(seeded, said):
    async def repeat():
        async with open_database(database_url("", seeded.data_dir)) as database:
            cost = 2 * 10**12
            await SqlBooks(database).write([record(hour=h, digest="d", total_us=1, cost=cost) for h in (1, 2)])

    asyncio.run(repeat())
    said()
    run_savings(seeded, JANUARY, batch_discount=None, as_json=False)
    shown = said().splitlines()
    assert shown[0].split() == ["Model", "Instead", "Requests", "Cost", "Would", "cost", "Saved"]
    assert shown[1].split() == ["m", "cache", "of", "a", "tenant", "1", "$2.0000", "$0.0000", "$2.0000"]
    assert "m -> cache of a user: 1 repeats were charged 2; 2 - 0 = 2" in shown
    run_savings(seeded, JANUARY._replace(user="ann"), batch_discount=0.5, as_json=True)
    body = json.loads(said())
    assert (body["caching"]["saved"], body["batching"]["batch_discount"]) == ({"user": 2}, 0.5)
    assert body["recorded"]["unpriced_requests"] == 4


def test_an_unknown_group_is_a_mistake_of_the_command_line():
    result = CliRunner().invoke(app, ["usage", "summary", "--by", "colour"])
    assert result.exit_code == 2


def test_reprice_says_what_it_did(seeded, said):
    said()
    run_reprice(seeded, "2024-01-03", as_json=True)
    assert json.loads(said()) == {"seen": 4, "changed": 4, "difference": "0.08"}
    run_reprice(seeded, "2024-01-03", as_json=False)
    assert "4 records looked at, 0 changed" in said()
    run_summary(seeded, JANUARY, group_by="model", as_json=True)
    body = json.loads(said())
    assert (body["total_cost"], body["unpriced_requests"]) == (0.08, 4)


def test_export_writes_every_record(seeded, said, tmp_path):
    run_reprice(seeded, "2024-01-03", as_json=True)
    said()
    run_export(seeded, JANUARY, None)
    rows = list(csv.DictReader(io.StringIO(said())))
    assert [row["time"][:10] for row in rows] == [f"2024-01-0{d}" for d in (1, 1, 2, 2, 3, 3, 4, 4)]
    assert {row["user_id"] for row in rows} == {"ann", "'=bob"}
    assert {row["cost"] for row in rows} == {"", "0.02"}
    file = tmp_path / "out.csv"
    run_export(seeded, JANUARY._replace(user="ann"), file)
    assert len(file.read_text().splitlines()) == 5


def test_nothing_recorded_is_told_without_an_empty_table(settings, tmp_path, capsys):
    run_upgrade(settings, as_json=False)
    capsys.readouterr()
    run_summary(settings, JANUARY, group_by="model", as_json=False)
    out, err = capsys.readouterr()
    assert (out, "0 requests" in err) == ("", True)
    run_export(settings, JANUARY, tmp_path / "empty.csv")
    [header] = (tmp_path / "empty.csv").read_text().splitlines()
    assert header.startswith("id,request_id,time,")


def test_dates_are_named_as_the_command_names_them(settings):
    for given, name in ((("soon", None), "--start"), ((None, "2024-01-01T10:30"), "--end")):
        with pytest.raises(InvalidRequest, match=f"^{name} is "):
            Range(*given, None).question()
    with pytest.raises(InvalidRequest, match=r"^--end is before --start"):
        Range("2024-02-01", "2024-01-01", None).question()
    with pytest.raises(InvalidRequest, match=r"^DATE is 'soon'"):
        run_reprice(settings, "soon", as_json=False)
