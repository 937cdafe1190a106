"""Which time two texts mean."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.core.ledger.sheets import as_csv
from enginehouse.core.ledger.usage import bounds
from enginehouse.errors import InvalidRequest
from enginehouse.stores.sql.rollups import PERIODS
from enginehouse.stores.sql.sums import cover

DAY = 86_400
NOW = datetime(2024, 2, 10, 15, 30, tzinfo=UTC)


def spoken(seconds):
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H")


@pytest.mark.parametrize(
    ("start", "end", "first", "after"),
    [
        ("2024-01-01", "2024-01-31", "2024-01-01 00", "2024-02-01 00"),
        ("2024-01-31", "2024-01-31", "2024-01-31 00", "2024-02-01 00"),
        (None, None, "2024-01-12 00", "2024-02-11 00"),
        ("2024-02-09", None, "2024-02-09 00", "2024-02-11 00"),
        (None, "2024-01-31", "2024-01-02 00", "2024-02-01 00"),
        ("2024-01-01T10:00:00Z", "2024-01-01T12:00:00Z", "2024-01-01 10", "2024-01-01 12"),
        ("2024-01-01T01:00:00+02:00", "2024-01-01", "2023-12-31 23", "2024-01-02 00"),
        ("2024-01-01T01:00:00 02:00", "2024-01-01", "2023-12-31 23", "2024-01-02 00"),
        ("2024-01-01T05:00", "2024-01-01", "2024-01-01 05", "2024-01-02 00"),
    ],
)
def test_dates_are_days_of_utc_and_times_are_hours(start, end, first, after):
    assert tuple(map(spoken, bounds(start, end, NOW))) == (first, after)


@pytest.mark.parametrize(
    ("start", "end", "param"),
    [
        ("yesterday", None, "start_date"),
        ("2024-02-30", None, "start_date"),
        ("2024-01-01", "31.01.2024", "end_date"),
        ("2024-01-01T10:30:00Z", None, "start_date"),
        ("2024-01-02", "2024-01-01", "end_date"),
        ("0001-01-01T00:00:00+14:00", None, "start_date"),
        ("9999-12-31", "9999-12-31", "end_date"),
    ],
)
def test_other_texts_are_refused_by_name(start, end, param):
    with pytest.raises(InvalidRequest) as caught:
        bounds(start, end, NOW)
    assert caught.value.param == param


hours = st.integers(0, 2000).map(lambda hour: hour * 3600)


@given(
    start=hours, length=st.integers(1, 2000).map(lambda hour: hour * 3600), widest=st.sampled_from(list(PERIODS))
)
def test_a_range_is_covered_exactly_and_by_few_sums(start, length, widest):
    spans = cover(start, start + length, widest=widest)
    seen = sorted(
        second
        for name, first, last in spans
        for second in range(first, last, 3600)
        if PERIODS[name] <= PERIODS[widest]
    )
    assert seen == list(range(start, start + length, 3600))
    assert all(first % PERIODS[name] == 0 == last % PERIODS[name] for name, first, last in spans)
    if widest == "octave":
        assert sum((last - first) // PERIODS[name] for name, first, last in spans) <= 2 * 23 + 2 * 7 + length // (
            8 * DAY
        )


def test_a_month_of_whole_days_reads_no_hours():
    assert {name for name, _, _ in cover(0, 31 * DAY)} == {"day", "octave"}


def test_a_spreadsheet_runs_nothing():
    assert as_csv([{"user": "=cmd()", "n": -1}, {"user": "a,b", "n": 2}]) == 'user,n\r\n\'=cmd(),-1\r\n"a,b",2\r\n'
    assert as_csv([]) == ""
