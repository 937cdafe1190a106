"""The contract of conversations on SQLite."""

import pytest

from enginehouse.stores.sql import database_url, migrate, open_database
from tests.sessions_contract import *  # noqa: F403 - the tests themselves


@pytest.fixture
async def database(tmp_path):
    async with open_database(database_url("", tmp_path)) as opened:
        await migrate(opened)
        yield opened
