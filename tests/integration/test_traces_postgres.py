"""Requests are kept on a real PostgreSQL."""

import pytest

from enginehouse.stores.sql import database_url, migrate, open_database
from tests.integration.postgres import Postgres
from tests.traces_contract import *  # noqa: F403 - the tests themselves


@pytest.fixture(scope="module")
def postgres():
    with Postgres() as server:
        yield server


@pytest.fixture
async def database(postgres, tmp_path):
    async with open_database(database_url(postgres.new_database(), tmp_path)) as opened:
        await migrate(opened)
        yield opened
