"""The documentation as a site: built strictly, complete, and without anything from elsewhere."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FETCHED = re.compile(
    r"<(?:script|img|iframe|source)[^>]*\ssrc=[\"']?(https?:)?//|<link[^>]*\shref=[\"']?(https?:)?//"
)
"""What a browser would fetch from another server; a link that somebody may follow is none."""


def build(root: Path, target: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(target)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, check=False, cwd=root, env=environ, capture_output=True, text=True, timeout=110)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_there_and_in_the_navigation(site):
    home = (site / "index.html").read_text()
    for page in ROOT.glob("docs/**/*.md"):
        name = page.relative_to(ROOT / "docs").with_suffix("")
        if name.name != "index":
            assert (site / name / "index.html").exists(), name
            assert f'href="{name}/"' in home, f"{name} is not in the navigation"


def test_nothing_is_fetched_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    fetched = {
        str(page.relative_to(site)): found[0] for page in pages if (found := FETCHED.search(page.read_text()))
    }
    assert fetched == {}
    assert not [sheet for sheet in site.rglob("*.css") if re.search(r"url\([\"']?(https?:)?//", sheet.read_text())]


def test_the_reference_has_every_family_of_routes(site):
    page = (site / "api-reference/index.html").read_text()
    for path in ("/v1/chat/completions", "/v1/messages", "/api/chat", "/predict", "/v1/vector/search", "/metrics"):
        assert path in page, path


def test_links_into_the_repository_have_become_words_or_pages(site):
    page = (site / "architecture/index.html").read_text()
    assert "src/enginehouse/core/routes/routes.py" not in page
    assert 'href="../contributing/"' in page


def test_every_alert_is_told_of():
    rules = yaml.safe_load((ROOT / "deploy/monitoring/alerts.yaml").read_text())
    alerts = [rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule]
    page = (ROOT / "docs/operations/alerts.md").read_text()
    assert re.findall(r"^## (\w+)$", page, re.MULTILINE) == alerts


def test_a_broken_link_fails_the_build(tmp_path):
    for name in ("mkdocs.yml", "website", "docs", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    with (tmp_path / "docs/glossary.md").open("a") as page:
        page.write("\nSee [there](no-such-page.md).\n")
    done = build(tmp_path, tmp_path / "built")
    assert done.returncode != 0
    assert "no-such-page.md" in done.stderr
