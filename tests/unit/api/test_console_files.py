"""The console's files at the door: public, held to their policy, asked for anew only when they changed."""

import re
from pathlib import Path

import pytest

from enginehouse.api.console import console_assets
from enginehouse.testing import WHOLE, simulate
from tests.unit.api.house import open_door

FOLDER = Path(__file__).parents[3] / "src/enginehouse/console"
FILES = sorted(str(file.relative_to(FOLDER)) for file in FOLDER.rglob("*") if file.is_file())


def get(*paths, keys=("a-key",), **headers):
    async def main():
        async with open_door([WHOLE], keys=keys) as door:
            return [await door.call("GET", path, **headers) for path in paths]

    return simulate(main())


def test_the_package_holds_every_file():
    assert sorted(console_assets()) == FILES
    assert {"index.html", "app.js", "console.css"} <= set(FILES)


def test_everything_is_public_and_under_the_policy():
    for answer in get("/console", *(f"/console/{file}" for file in FILES)):
        assert answer.status == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "require-trusted-types-for 'script'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    ("ending", "media_type"), [(".js", "text/javascript"), (".css", "text/css"), (".html", "text/html")]
)
def test_files_say_what_they_are(ending, media_type):
    name = next(file for file in FILES if file.endswith(ending))
    assert get(f"/console/{name}")[0].headers["content-type"].startswith(media_type)


def test_what_a_browser_has_is_not_sent_again():
    first = get("/console/app.js")[0]
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "no-cache"
    for known in (tag, f"W/{tag}", f'"other", {tag}'):
        again = get("/console/app.js", if_none_match=known)[0]
        assert (again.status, again.body) == (304, b"")
        assert again.headers["content-security-policy"] == first.headers["content-security-policy"]
    assert get("/console/app.js", if_none_match='"other"')[0].status == 200


@pytest.mark.parametrize(
    "path",
    ["/console/nothing.js", "/console/../app.py", "/console/%2e%2e/app.py", "/console/pages", "/console//app.js"],
)
def test_there_is_nothing_else(path):
    assert get(path)[0].status == 404


def test_browsers_are_sent_to_the_page_and_the_page_has_one_address():
    root, slashed = get("/", "/console/", accept="text/html")
    assert (root.status, root.headers["location"]) == (307, "console")
    assert (slashed.status, slashed.headers["location"]) == (307, "../console")
    assert get("/")[0].json() == {"status": "running", "service": "enginehouse"}


def test_no_file_names_an_outside_address_or_makes_markup_of_text():
    for file in FILES:
        text = (FOLDER / file).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.findall(r"https?://|//[a-z]+\.[a-z]{2,}/", text), file
        assert not re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text
        ), file


def test_the_page_has_no_inline_code_or_style():
    page = (FOLDER / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=", page)
