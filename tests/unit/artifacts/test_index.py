"""Reading a package index's pages, and choosing a wheel."""

import json

import pytest
from packaging.tags import sys_tags
from yarl import URL

from enginehouse.errors import SourceError
from enginehouse.settings.schema import SourceSettings
from enginehouse.stores.artifacts.index import Index, IndexFile, choose, read_html, read_json

BASE = URL("https://index.example/simple/pkg/")
HEX = "0f" * 32


def offered(*names):
    return [IndexFile(filename=name, url=BASE / name) for name in names]


def test_html_with_absolute_and_relative_addresses_and_digests():
    page = f"""<!DOCTYPE html><html><body>
    <a href="https://files.example/a/pkg-1.0-py3-none-any.whl#sha256={HEX.upper()}" data-yanked="bad">pkg</a>
    <a href="../../files/pkg-1.0+local.tar.gz#md5=abc">sdist</a><a>none</a></body></html>"""
    assert read_html(page.encode(), BASE) == (
        IndexFile(
            filename="pkg-1.0-py3-none-any.whl",
            url=URL("https://files.example/a/pkg-1.0-py3-none-any.whl"),
            sha256=HEX,
        ),
        IndexFile(filename="pkg-1.0+local.tar.gz", url=URL("https://index.example/files/pkg-1.0+local.tar.gz")),
    )


def test_html_with_its_own_base():
    page = b'<html><head><base href="https://files.example/root/"></head><a href="a.whl">a</a></html>'
    assert read_html(page, BASE)[0].url == URL("https://files.example/root/a.whl")


def test_percent_encoded_names_are_read():
    assert read_html(b'<a href="pkg-1.0%2Bcpu-py3-none-any.whl">x</a>', BASE)[0].filename == (
        "pkg-1.0+cpu-py3-none-any.whl"
    )


def test_json_with_relative_addresses_and_digests():
    page = {
        "meta": {"api-version": "1.4"},
        "name": "pkg",
        "files": [
            {"filename": "a.whl", "url": "../../f/a.whl", "hashes": {"sha256": HEX, "md5": "x"}, "yanked": True},
            {"filename": "b.whl", "url": "https://files.example/b.whl", "hashes": {}},
        ],
    }
    assert read_json(json.dumps(page).encode(), BASE) == (
        IndexFile(filename="a.whl", url=URL("https://index.example/f/a.whl"), sha256=HEX),
        IndexFile(filename="b.whl", url=URL("https://files.example/b.whl")),
    )


@pytest.mark.parametrize("body", [b"", b"[]", b'{"files": 1}', b'{"files": [{"filename": "a"}]}', b"\xff"])
def test_json_that_is_none(body):
    with pytest.raises(SourceError, match=r"index\.example answered with JSON"):
        read_json(body, BASE)


def test_a_digest_that_is_none_is_no_digest():
    assert read_html(b'<a href="a.whl#sha256=xyz">a</a>', BASE)[0].sha256 is None


def test_pure_wheels_come_first():
    files = offered("pkg-1.0-cp311-cp311-win32.whl", "pkg-1.0-py3-none-any.whl", "pkg-1.0-cp39-abi3-win32.whl")
    assert choose(files, "pkg", "1.0").filename == "pkg-1.0-py3-none-any.whl"


def test_a_wheel_for_another_machine_will_do():
    assert choose(offered("pkg-1.0-cp27-cp27m-win32.whl"), "pkg", "1.0").filename == "pkg-1.0-cp27-cp27m-win32.whl"


def test_a_wheel_for_this_machine_comes_before_one_for_another():
    own = f"pkg-1.0-{next(sys_tags())}.whl"
    assert choose(offered("pkg-1.0-aa1-none-any.whl", own), "pkg", "1.0").filename == own


@pytest.mark.parametrize("written", ["1.0.0", "1.0.0.0", "v1", "1"])
def test_versions_are_compared_and_not_spelled(written):
    assert choose(offered("pkg-1.0-py3-none-any.whl"), "pkg", written).filename == "pkg-1.0-py3-none-any.whl"


def test_an_unknown_version_names_the_newest():
    files = offered(*(f"pkg-1.{n}-py3-none-any.whl" for n in range(12)), "pkg-0.1.tar.gz", "junk")
    with pytest.raises(SourceError, match=r"no version 2\.0 of pkg\. The newest it has: 1\.11, 1\.10, 1\.9"):
        choose(files, "pkg", "2.0")


def test_a_version_without_a_wheel():
    with pytest.raises(SourceError, match=r"pkg 1\.0 has no wheel on the index, only: pkg-1\.0\.tar\.gz"):
        choose(offered("pkg-1.0.tar.gz"), "pkg", "1.0")


def test_a_name_that_leads_elsewhere_on_the_disk_is_not_taken():
    trap = IndexFile(filename="pkg-1.0-py3-none-any/../../x.whl", url=BASE)
    with pytest.raises(SourceError, match="no version"):
        choose([trap], "pkg", "1.0")


@pytest.mark.parametrize("url", ["", "file:///srv/index", "index.example/simple", "http://", "http://[bad"])
def test_the_index_must_be_http(url):
    with pytest.raises(SourceError, match=r"sources\.pypi_index must be an http or https URL"):
        Index(url)


def test_a_wrong_index_url_is_not_repeated_in_the_message():
    with pytest.raises(SourceError) as caught:
        Index("ftp://user:hunter2@index.example")
    assert "hunter2" not in caught.value.message


def test_the_default_index_is_one():
    Index(SourceSettings().pypi_index)
