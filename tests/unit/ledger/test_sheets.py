"""Rows that have most in common are written like any others, however many they are."""

import sqlite3
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from enginehouse.stores.sql.sheets import FULL, Sheets

COLUMNS = ("id", "who", "kind", "number")
VALUE = st.none() | st.booleans() | st.sampled_from(["", "a", "b"]) | st.integers(0, 2)
ROWS = st.lists(st.tuples(st.integers(0, 30), VALUE, VALUE, VALUE), max_size=60)


def written(rows, alike, **others):
    with sqlite3.connect(":memory:") as driver:
        driver.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, who, kind, number)")
        connection = SimpleNamespace(connection=SimpleNamespace(driver_connection=driver))
        Sheets("notes", COLUMNS, alike, **others).insert(
            connection, list(zip(*rows, strict=True)) or [()] * len(COLUMNS)
        )
        return {row[0]: row for row in driver.execute("SELECT * FROM notes")}


@given(ROWS, st.sampled_from([(1, 3), (1, 4), (0, 0), (2, 3)]))
def test_each_row_is_there_once(rows, alike):
    kept = written(rows, alike)
    assert kept.keys() == {row[0] for row in rows}
    assert all(row in rows for row in kept.values())


@given(st.integers(0, 130), st.integers(1, 3))
def test_many_that_are_alike_are_all_there(number, kinds):
    rows = [(one, "ann", one % kinds, one * one) for one in range(number)]
    assert list(written(rows, (1, 3)).values()) == rows


@given(st.integers(0, 3 * FULL), st.integers(1, 3))
def test_others_go_first_behind_each_full_sheet(number, kinds):
    rows, breaths = [(one, "ann", one % kinds, one * one) for one in range(number)], []
    written(rows, (1, 3), breathe=lambda: breaths.append(1))
    assert len(breaths) >= number // FULL - kinds
    assert len(breaths) <= number // FULL
