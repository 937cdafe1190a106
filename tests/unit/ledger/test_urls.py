"""Addresses as people write them."""

import pytest

from enginehouse.errors import SettingsError
from enginehouse.stores.sql import database_url, place

PASSWORD = "s3cret"


@pytest.mark.parametrize(
    ("text", "driver", "shown"),
    [
        ("postgresql://u:s3cret@db:5432/x", "postgresql+asyncpg", "PostgreSQL at db:5432, database 'x'"),
        ("postgres://u:s3cret@db/x", "postgresql+asyncpg", "PostgreSQL at db, database 'x'"),
        ("postgresql+psycopg2://u:s3cret@db/x", "postgresql+asyncpg", "PostgreSQL at db, database 'x'"),
        ("postgresql://u:s3cret@db", "postgresql+asyncpg", "PostgreSQL at db, database 'u'"),
        ("postgresql:///x?host=/run/pg", "postgresql+asyncpg", "PostgreSQL at /run/pg, database 'x'"),
        ("sqlite:////srv/a.db", "sqlite", "SQLite file a.db"),
        ("sqlite+aiosqlite:///a.db", "sqlite", "SQLite file a.db"),
        ("", "sqlite", "SQLite file enginehouse.db"),
    ],
)
def test_the_driver_is_chosen_and_the_password_never_shown(tmp_path, text, driver, shown):
    url = database_url(text, tmp_path)
    assert (url.drivername, place(url)) == (driver, shown)


def test_files_are_in_the_data_directory_unless_they_say_otherwise(tmp_path):
    assert database_url("", tmp_path).database == str(tmp_path / "enginehouse.db")
    assert database_url("sqlite:///sub/a.db", tmp_path).database == str(tmp_path / "sub" / "a.db")
    assert database_url("sqlite:////srv/a.db", tmp_path).database == "/srv/a.db"


def test_sslmode_is_understood(tmp_path):
    assert database_url("postgresql://h/x?sslmode=require", tmp_path).query == {"ssl": "require"}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("mysql://u:s3cret@h/x", "'mysql'"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("u:s3cret@h", "no address"),
        ("postgresql://u:s3cret@h:port/x", "no address"),
    ],
)
def test_what_cannot_be_is_refused_by_key_and_without_the_password(tmp_path, text, part):
    with pytest.raises(SettingsError, match=part) as caught:
        database_url(text, tmp_path)
    assert "stores.database_url" in caught.value.message
    assert PASSWORD not in caught.value.message
