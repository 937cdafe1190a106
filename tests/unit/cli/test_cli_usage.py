"""`enginehouse usage` and `enginehouse db` on an embedded database."""

import asyncio
import csv
import io
import json

import pytest
from typer.testing import CliRunner

from enginehouse.cli import app
from enginehouse.core.ledger.books import SqlBooks
from enginehouse.stores.sql import database_url, open_database, prepare
from tests.ledger_contract import record

JANUARY = ("--start", "2024-01-01", "--end", "2024-01-31")


@pytest.fixture
def run(tmp_path):
    file = tmp_path / "enginehouse.yaml"
    file.write_text(f"data_dir: {tmp_path}\nmodels: {{m: {{price: {{input_per_1k: 1, output_per_1k: 2}}}}}}\n")

    def call(*arguments):
        return CliRunner().invoke(app, [*map(str, arguments), "--config", str(file)], env={"COLUMNS": "200"})

    return call


@pytest.fixture
def seeded(run, tmp_path):
    async def seed():
        async with open_database(database_url("", tmp_path)) as database:
            await prepare(database)
            rows = [record(day=d, user_id=u, cost=None, price=None) for d in range(4) for u in ("ann", "=bob")]
            await SqlBooks(database).write(rows)

    asyncio.run(seed())
    return run


def test_a_database_that_is_not_there_is_told_and_made(run):
    assert run("db", "status").exit_code == 1
    assert "no schema" in run("db", "status").stdout
    state = json.loads(run("db", "upgrade", "--json").stdout)
    assert (state["state"], state["revision"]) == ("current", state["head"])
    assert run("db", "status").exit_code == 0


def test_nothing_is_asked_of_a_schema_that_is_not_ours(run):
    result = run("usage", "summary")
    assert result.exit_code == 1
    assert "no schema yet" in str(result.exception)


def test_summary_is_a_table_or_json(seeded):
    shown = seeded("usage", "summary", *JANUARY, "--by", "user")
    assert shown.exit_code == 0, shown.output
    assert [line.split()[:2] for line in shown.stdout.splitlines()] == [
        ["User", "Requests"],
        ["=bob", "4"],
        ["ann", "4"],
    ]
    assert "unknown" in shown.stdout
    body = json.loads(seeded("usage", "summary", *JANUARY, "--json").stdout)
    assert (body["total_requests"], body["total_cost"], body["group_by"]) == (8, None, "model")
    one = json.loads(seeded("usage", "summary", *JANUARY, "--user", "ann", "--json").stdout)
    assert one["total_requests"] == 4


def test_an_unknown_group_is_a_mistake_of_the_command_line(seeded):
    assert seeded("usage", "summary", "--by", "colour").exit_code == 2


def test_reprice_says_what_it_did(seeded):
    said = json.loads(seeded("usage", "reprice", "2024-01-03", "--json").stdout)
    assert said == {"seen": 4, "changed": 4, "difference": "0.08"}
    assert "4 records looked at, 0 changed" in seeded("usage", "reprice", "2024-01-03").stdout
    body = json.loads(seeded("usage", "summary", *JANUARY, "--json").stdout)
    assert (body["total_cost"], body["unpriced_requests"]) == (0.08, 4)


def test_export_writes_every_record(seeded, tmp_path):
    seeded("usage", "reprice", "2024-01-03")
    shown = seeded("usage", "export", *JANUARY).stdout
    rows = list(csv.DictReader(io.StringIO(shown)))
    assert [row["time"][:10] for row in rows] == [f"2024-01-0{d}" for d in (1, 1, 2, 2, 3, 3, 4, 4)]
    assert {row["user_id"] for row in rows} == {"ann", "'=bob"}
    assert {row["cost"] for row in rows} == {"", "0.02"}
    file = tmp_path / "out.csv"
    assert seeded("usage", "export", *JANUARY, "--user", "ann", "--output", file).exit_code == 0
    assert len(file.read_text().splitlines()) == 5
