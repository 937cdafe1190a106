"""A page that several commands write keeps what the others wrote."""

from pathlib import Path

import pytest

from bench.pages import write, write_part


@pytest.fixture
def page(tmp_path: Path) -> Path:
    page = tmp_path / "benchmarks.md"
    write(page, "# Benchmarks\n\nfast\n")
    write_part(page, "peers", "## Beside others\n\ntwice\n")
    return page


def test_a_part_is_added_at_the_end(page: Path):
    assert page.read_text().startswith("# Benchmarks\n\nfast\n\n<!-- part: peers -->\n## Beside others\n\ntwice\n")


def test_a_part_is_renewed_where_it_was(page: Path):
    write_part(page, "goals", "met")
    before = page.read_text()
    write_part(page, "peers", "## Beside others\n\nthrice \\1\n")
    assert page.read_text() == before.replace("twice", "thrice \\1")


def test_a_page_written_anew_keeps_the_parts_of_others(page: Path):
    write_part(page, "goals", "met")
    before = page.read_text()
    write(page, "# Benchmarks\n\nfaster\n")
    assert page.read_text() == before.replace("fast\n", "faster\n")


def test_a_part_can_be_all_there_is(tmp_path: Path):
    write_part(tmp_path / "new.md", "peers", "twice")
    assert (tmp_path / "new.md").read_text() == "<!-- part: peers -->\ntwice\n<!-- end of the part -->\n"
