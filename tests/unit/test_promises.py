"""The page of promises names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROMISE = re.compile(r"^\| (\d+)\. .*\|$", re.MULTILINE)
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


def test_every_promise_names_tests_that_exist():
    page = (ROOT / "docs/promises.md").read_text(encoding="utf-8")
    promises = list(PROMISE.finditer(page))
    assert [int(promise[1]) for promise in promises] == list(range(1, 87))
    assert all(NAMED.search(promise[0]) for promise in promises)
    for file, name in NAMED.findall(page):
        text = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert re.search(rf"^(?:async )?def {name}\(", text, re.MULTILINE), f"{file}::{name}"
