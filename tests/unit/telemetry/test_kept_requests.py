"""Requests are kept on SQLite."""

import pytest

from enginehouse.stores.sql import database_url, open_database, prepare
from tests.traces_contract import *  # noqa: F403 - the tests themselves


@pytest.fixture
async def database(tmp_path):
    async with open_database(database_url("", tmp_path)) as opened:
        await prepare(opened)
        yield opened
