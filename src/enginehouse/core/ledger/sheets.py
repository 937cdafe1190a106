"""Usage as CSV, for spreadsheets."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["as_csv", "cell"]

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows with a header; texts that a spreadsheet would run as a formula are quoted."""
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows({name: cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def cell(value: Any) -> Any:
    """A value as a spreadsheet shows it, and does not run it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
