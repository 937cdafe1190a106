"""What a caller may say of a model, seen by somebody who means harm; and the file that keeps it."""

import json
import os

import pytest
from structlog.testing import capture_logs

from enginehouse.core.registration import RegistryFile
from enginehouse.core.registration.entries import merge_patch
from enginehouse.core.registration.rules import HARMLESS, SWITCHES, admitted, located
from enginehouse.engines.llama_server.flags import parse_flags
from enginehouse.errors import InvalidRequest
from enginehouse.settings.schema import Settings


def settings(**keys):
    return Settings.model_validate(keys)


def refused(entry, param, **keys):
    with pytest.raises(InvalidRequest) as caught:
        admitted("m", entry, settings(**keys))
    assert caught.value.param == param
    return caught.value.message


@pytest.mark.parametrize(
    "flags",
    [
        ["--log-file", "/tmp/x"],
        ["--model-url", "http://x"],
        ["-mu", "http://x"],
        ["-m", "/etc/passwd"],
        ["--lora", "x.gguf"],
        ["--host", "0.0.0.0"],
        ["--port", "80"],
        ["--api-key-file", "/etc/shadow"],
        ["--api-key", "mine"],
        ["--chat-template-file", "/etc/passwd"],
        ["--chat-template", "{{ x }}"],
        ["--chat-template", "/etc/passwd"],
        ["--slot-save-path", "/"],
        ["--path", "/"],
        ["--mmproj", "/etc/passwd"],
        ["-v"],
        ["-c", "512", "--log-file", "/tmp/x"],
        ["-c=512"],
        ["--ctx-size=512"],
        ["-c", "--log-file"],
        ["-fa", "--log-file", "x"],
        ["stray"],
        ["-c", "512", "stray"],
        ["--mlock", "stray"],
        ["--TEMP", "1"],
        ["-c", "512\n--log-file"],
        ["-c", "5 12"],
        ["-c", ""],
        ["-c", "many"],
    ],
)
def test_flags_that_name_files_places_or_logs_are_refused(flags):
    refused({"source": "hf:o/r/f.gguf", "flags": flags}, "flags")


def test_every_allowed_flag_is_one_the_bundled_engine_knows_and_takes_what_the_list_says():
    values = {"--pooling": "mean", "-ctk": "q8_0", "--cache-type-k": "q8_0", "-ctv": "f16", "--cache-type-v": "f16"}
    words = {"-sm": "layer", "--split-mode": "none", "-fa": "auto", "--flash-attn": "on", "--rope-scaling": "yarn"}
    values |= words | {"--chat-template": "chatml", "--reasoning-format": "none", "-ngl": "auto"}
    for flag in SWITCHES - {"--no-cont-batching"}:
        assert len(vars(parse_flags([flag]))) == 1
    for flag in HARMLESS:
        given = [flag, values.get(flag, "1")]
        assert len(vars(parse_flags(given))) == 1
        assert admitted("m", {"source": "hf:o/r/f.gguf", "flags": given}, settings()).flags == tuple(given)
    assert admitted("m", {"source": "hf:o/r/f.gguf", "flags": ["-n", "-1", "--mlock"]}, settings())


def test_the_operator_may_allow_further_flags(tmp_path):
    entry = {"source": "hf:o/r/f.gguf", "flags": ["--lora", "/a/b.gguf", "--mlock"]}
    own = {"llama_server": {"path": str(tmp_path / "llama-server")}}
    assert admitted("m", entry, settings(registration={"flags": ["--lora"]}, engines=own)).flags[1] == "/a/b.gguf"
    refused({**entry, "flags": ["--lora", "--log-file"]}, "flags", registration={"flags": ["--lora"]}, engines=own)


def test_files_lie_inside_the_configured_folders_whatever_a_link_says(tmp_path):
    models, outside = tmp_path / "models", tmp_path / "outside"
    for folder in (models, outside):
        folder.mkdir()
        (folder / "m.gguf").write_bytes(b"x")
    (models / "link.gguf").symlink_to(outside / "m.gguf")
    (models / "inner.gguf").symlink_to(models / "m.gguf")
    (tmp_path / "models-too").mkdir()
    given = {"models_dir": str(models), "data_dir": str(tmp_path / "data")}
    for good in (str(models / "m.gguf"), "m.gguf", "inner.gguf", "sub/../m.gguf"):
        kept = located({"source": good}, settings(**given))
        assert kept["source"] == str(models / "m.gguf")
        assert admitted("m", kept, settings(**given))
    for bad in (
        str(outside / "m.gguf"),
        "../outside/m.gguf",
        "link.gguf",
        str(tmp_path / "models-too" / "m.gguf"),
        str(tmp_path / "data" / "registered-models.json"),
        "/proc/self/environ",
    ):
        assert str(tmp_path) not in refused({"source": bad}, "source", **given)
    artifacts = str(tmp_path / "data" / "artifacts" / "x.gguf")
    assert admitted("m", {"source": artifacts}, settings(**given))
    for strange in ("~/m.gguf", "~root/m.gguf", "a\0b"):
        with pytest.raises(InvalidRequest):
            located({"source": strange}, settings(**given))
    refused({"source": {"model.onnx": "m.gguf", "tokenizer.json": "/etc/passwd"}}, "source", **given)


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("https://api.example.com/v1", True),
        ("https://api.example.com/v1/", True),
        ("https://api.example.com/v1/deeper", True),
        ("https://api.example.com/v2", False),
        ("https://api.example.com/v1x", False),
        ("https://api.example.com/v1/../admin", False),
        ("https://api.example.com/v1/%2e%2e/admin", False),
        ("http://api.example.com/v1", False),
        ("https://api.example.com:444/v1", False),
        ("https://api.example.com.evil.net/v1", False),
        ("https://api.example.com@evil.net/v1", False),
        ("https://evil.net\\@api.example.com/v1", False),
        ("https://u:p@api.example.com/v1", False),
        ("https://api.example.com:bad/v1", False),
        ("http://169.254.169.254/latest", False),
    ],
)
def test_addresses_are_those_the_operator_allows(url, fine):
    allowed = {"registration": {"base_urls": ["https://api.example.com/v1"]}}
    if fine:
        assert admitted("m", {"base_url": url}, settings(**allowed)).base_url == url
    else:
        refused({"base_url": url}, "base_url", **allowed)
    refused({"base_url": url}, "base_url")
    assert admitted("m", {"base_url": url}, settings(registration={"base_urls": ["*"]}))


def test_a_key_that_points_somewhere_is_not_even_read(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("do-not-tell")
    message = refused({"engine": "openai", "api_key": f"file:{secret}"}, "api_key")
    assert "do-not-tell" not in message
    assert "do-not-tell" not in refused({"engine": "openai", "api_key": ["do-not-tell"]}, "api_key")


@pytest.mark.parametrize("entry", [None, [], "x", 5])
def test_an_entry_that_is_no_object_is_refused(entry):
    refused(entry, None)


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [  # the examples of RFC 7396
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch_is_that_of_the_standard(target, patch, result):
    assert merge_patch(target, patch) == result


# The file ----------------------------------------------------------------------------------------------------


def test_the_file_holds_what_was_written_privately_and_can_be_pasted(tmp_path):
    file = RegistryFile(tmp_path / "deep" / "models.json")
    assert file.read() == {}
    file.write({"a": {"source": "s", "api_key": "k"}, "1e3": {"aliases": ["on"]}})
    assert file.read() == {"a": {"source": "s", "api_key": "k"}, "1e3": {"aliases": ["on"]}}
    assert json.loads(file.path.read_text()) == {"models": file.read()}
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.path.parent.iterdir()] == ["models.json"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"models": {"a"', b"[]", b'{"models": []}', b"\xff\xfe", b"[" * 9999]
)
def test_a_broken_file_is_kept_aside_and_told(tmp_path, content):
    file = RegistryFile(tmp_path / "models.json")
    file.path.write_bytes(content)
    with capture_logs() as logs:
        assert file.read() == {}
    [aside] = tmp_path.iterdir()
    assert (aside.name.startswith("models.json.bad-"), aside.read_bytes()) == (True, content)
    assert logs[0]["event"] == "registered_models_broken"
    file.write({"a": {}})
    assert file.read() == {"a": {}}
    assert aside.read_bytes() == content


def test_what_cannot_be_written_leaves_the_old_file(tmp_path):
    file = RegistryFile(tmp_path / "models.json")
    file.write({"a": {}})
    (tmp_path / f".models.json.{os.getpid()}").mkdir()
    with pytest.raises(OSError, match="models"):
        file.write({"b": {}})
    assert file.read() == {"a": {}}
