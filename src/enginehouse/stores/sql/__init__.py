"""The database: one place that knows SQL, on SQLite or PostgreSQL."""

from enginehouse.stores.sql.database import Database, open_database
from enginehouse.stores.sql.migrating import SchemaState, migrate, prepare, schema_state
from enginehouse.stores.sql.urls import database_url, place

__all__ = [
    "Database",
    "SchemaState",
    "database_url",
    "migrate",
    "open_database",
    "place",
    "prepare",
    "schema_state",
]
