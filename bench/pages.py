"""Pages that more than one command writes: each has a part of its own, which the others leave alone."""

import re
from pathlib import Path

__all__ = ["write", "write_part"]

_PART = re.compile(r"<!-- part: (?P<name>[\w-]+) -->\n.*?<!-- end of the part -->\n", re.DOTALL)


def write(page: Path, text: str) -> None:
    """Write a page anew; the parts that others have in it stay, at its end."""
    parts = [found.group() for found in _PART.finditer(_text(page))]
    page.write_text("\n".join([text.rstrip() + "\n", *parts]))


def write_part(page: Path, name: str, text: str) -> None:
    """Write one part of a page: where it was, or at the end."""
    part, old = f"<!-- part: {name} -->\n{text.strip()}\n<!-- end of the part -->\n", _text(page)
    if any(found["name"] == name for found in _PART.finditer(old)):
        page.write_text(_PART.sub(lambda found: part if found["name"] == name else found.group(), old))
    else:
        page.write_text(f"{old.rstrip()}\n\n{part}".lstrip())


def _text(page: Path) -> str:
    return page.read_text() if page.exists() else ""
