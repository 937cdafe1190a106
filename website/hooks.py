"""Hooks of mkdocs: pages from elsewhere or made from the code, and links that lead out of the documentation."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from website.reference import reference  # noqa: E402 - mkdocs loads this file alone

BROUGHT = {
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security-policy.md",
    "CHANGELOG.md": "changelog.md",
}
"""Pages at the root of the repository, and what they are called here."""
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)]*)?\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Give the pages a place that the navigation does not name."""
    named = set(_leaves(config.nav))
    pages = sorted(str(page.relative_to(config.docs_dir)) for page in Path(config.docs_dir).rglob("*.md"))
    left = [page for page in pages if page not in named]
    sections = {name: entries for section in config.nav or () for name, entries in section.items()}
    sections["Develop"].append({"Decisions": [page for page in left if page.startswith("adr/")]})
    sections["Understand"] += [page for page in left if not page.startswith("adr/")]
    return config


def _leaves(nav: Any) -> Iterator[str]:
    for entry in nav:
        if isinstance(entry, str):
            yield entry
        else:
            for entries in entry.values():
                yield from _leaves(entries)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in the folder."""
    files.append(File.generated(config, "api-reference.md", content=reference()))
    for source, name in BROUGHT.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Lead links into the repository to the page that stands for it, or leave their words alone."""
    came_from = next((source for source, name in BROUGHT.items() if name == page.file.src_uri), None)
    here = PurePosixPath(came_from or f"docs/{page.file.src_uri}").parent
    code = FENCE.findall(markdown)
    words = FENCE.split(markdown)
    led = [LINK.sub(lambda found: _led(found, here, page), part) for part in words]
    return "".join(part + (code[index] if index < len(code) else "") for index, part in enumerate(led))


def _led(found: re.Match[str], here: PurePosixPath, page: Page) -> str:
    bang, words, target, anchor = found.groups()
    if "://" in target or target.startswith("mailto:"):
        return found[0]
    there = _normal(here / target)
    if there in BROUGHT:
        there = f"docs/{BROUGHT[there]}"
    if not there.startswith("docs/"):
        return words  # what is only in the repository has no page
    if bang and not (ROOT / there).exists():
        return words  # `make screenshots` makes the pictures
    up = "../" * page.file.src_uri.count("/")
    return f"{bang}[{words}]({up}{there.removeprefix('docs/')}{anchor or ''})"


def _normal(path: PurePosixPath) -> str:
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)
