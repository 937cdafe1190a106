"""Requests are kept on SQLite."""

import contextlib
import sqlite3

import pytest
from sqlalchemy import create_engine

from enginehouse.stores.sql import database_url, open_database, prepare
from enginehouse.stores.sql import traces as sql
from tests.traces_contract import *  # noqa: F403 - the tests themselves


@pytest.fixture
async def database(tmp_path):
    async with open_database(database_url("", tmp_path)) as opened:
        await prepare(opened)
        yield opened


async def test_one_that_is_named_is_not_looked_for_among_all_of_its_users(database):
    def plan(connection):
        with contextlib.closing(sqlite3.connect(":memory:")) as beside:
            connection.connection.driver_connection.backup(beside)
            asked = []
            beside.set_trace_callback(asked.append)
            engine = create_engine("sqlite://", creator=lambda: beside)
            with engine.connect() as other:
                sql.newest(other, equal={"user_id": "ann"}, named="x", limit=1)
            (question,) = [one for one in asked if one.startswith("SELECT")]
            return [row[3] for row in beside.execute(f"EXPLAIN QUERY PLAN {question}")]

    steps = await database.read(plan)
    assert any("request_id=?" in step for step in steps), steps
    assert not any("user_id=?" in step for step in steps), steps
