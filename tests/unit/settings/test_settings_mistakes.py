"""A mistake names its key and place, what was found, what is wanted and the nearest valid key."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.errors import SettingsError
from enginehouse.settings import load
from enginehouse.settings.keys import all_keys, nearest
from enginehouse.settings.secrecy import without_passwords


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # wrong types and ranges
        ("server:\n  port: eight",
         "server.port (line 2): found 'eight' (text), wanted a whole number from 0 to 65535."),
        ("server: {port: 70000}",
         "server.port (line 1): found 70000 (whole number), wanted a whole number from 0 to 65535."),
        ("server: {port: 1.5}", "found 1.5 (number), wanted a whole number"),
        ("server: {host: 12}", "server.host (line 1): found 12 (whole number), wanted text."),
        ("server: {debug: 7}", "found 7 (whole number), wanted true or false."),
        ("server: {ping_interval: 0}", "found 0 (whole number), wanted a number over 0."),
        ("server: 3", "server (line 1): found 3 (whole number), wanted a mapping."),
        ("server: [a]", "server (line 1): found a list, wanted a mapping."),
        ("server: {port: }", "server.port (line 1): found nothing, wanted a whole number"),
        ("log: {level: loud}", "found 'loud' (text), wanted one of debug, info, warning, error."),
        ("residency: {max_memory_usage: 1.5}", "wanted a number over 0 and at most 1."),
        ("residency: {preload: all}", "found 'all' (text), wanted a list (each text)."),
        ("residency: {preload: [a, 1]}", "residency.preload.1 (line 1): found 1 (whole number), wanted text."),
        ("residency: {vram_multiplier: .nan}", "found nan (number), wanted a number at least 1."),
        ("data_dir: 3", "data_dir (line 1): found 3 (whole number), wanted a path."),
        ("models: [a]", "models (line 1): found a list, wanted a mapping."),
        ("models: {a: 3}", "models.a (line 1): found 3 (whole number), wanted a mapping."),
        ("models: {a: {source: 3}}",
         "models.a.source (line 1): found 3 (whole number), wanted text or a mapping or nothing."),
        ("models: {a: {source: {f: 3}}}", "models.a.source.f (line 1): found 3 (whole number), wanted text."),
        ("models: {a: {sha256: abc}}",
         "models.a.sha256 (line 1): found 'abc' (text), wanted 64 hexadecimal digits"),
        ("models: {a: {kind: chatty}}", "wanted one of chat, embedding, rerank, classifier or nothing."),
        ("models: {a: {flags: -c 4}}", "models.a.flags (line 1): found '-c 4' (text), wanted a list"),
        ("models: {a: {flags: [true]}}",
         "models.a.flags.0 (line 1): found true (true or false), wanted text or a number."),
        ("models: {a: {price: {input_per_1k: cheap}}}", "found 'cheap' (text), wanted a decimal number of dollars"),
        ("models: {a: {price: {input_per_1k: -1}}}", "wanted a decimal number of dollars"),
        # keys that are not there
        ("server: {prot: 1}",
         "server.prot (line 1): there is no such key (found a whole number). Did you mean server.port?"),
        ("port: 1", "port (line 1): there is no such key (found a whole number). Did you mean server.port?"),
        ("residncy: {}", "residncy (line 1): there is no such key (found a mapping). Did you mean residency?"),
        ("sistem: {}", "Did you mean system?"),
        ("models: {a: {contextlength: 1}}", "Did you mean models.a.context_length?"),
        ("models: {a: {price: {input: 1}}}", "Did you mean models.a.price.input_per_1k?"),
        ("residency: {max_model: 1}", "Did you mean residency.max_models?"),
        ("residency: {preload_model: 1}", "Did you mean residency.preload_models?"),
        ("zzzqqq: 1", "zzzqqq (line 1): there is no such key (found a whole number)."),
        ("system: {max_concurrent_model: 1}", "Did you mean system.max_concurrent_models?"),
        ("api: {rate_limit: {requests: 1}}", "api.rate_limit.requests (line 1): there is no such key"),
        ("CACHE_CONFIG: {cache_tl: 1}", "Did you mean CACHE_CONFIG.cache_ttl?"),
        # the words of the file it was written in
        ("system:\n  max_concurrent_models: three", "system.max_concurrent_models (line 2): found 'three' (text)"),
        ("residency: {cache_ttl: long}", "residency.cache_ttl (line 1): found 'long' (text)"),
        ("redis: {cache_ttl_sec: long}", "redis.cache_ttl_sec (line 1): found 'long' (text)"),
        ("rate_limit: 3", "rate_limit (line 1): found 3 (whole number), wanted a mapping."),
        # rules of one value
        ("models: {status: {}}", "models.status (line 1): 'status' is a word of the HTTP routes"),
        ("models: {'': {}}", "the id of a model is not empty"),
        ("models: {a: {source: {f: /f}, sha256: {g: " + "0" * 64 + "}}}",
         "`sha256` names files that `source` does not: g."),
        ("models: {a: {source: {f: /f}, sha256: " + "0" * 64 + "}}", "`sha256` wants a digest for each name."),
        ("auth: {jwt_secret: ''}", "auth.jwt_secret (line 1): found text, wanted a secret (text, not empty)"),
        ("auth: {jwt_secret: env:NOT_SET}", "auth.jwt_secret (line 1): env:NOT_SET is empty or not there."),
        ("auth: {jwt_secret: file:gone}",
         "auth.jwt_secret (line 1): file:gone cannot be read: No such file or directory."),
        # the form of the file
        ("a: 1\na: 2\n", "a (line 2): is written twice, first in line 1."),
        ("server:\n  port: 1\n  port: 2\n", "server.port (line 3): is written twice, first in line 2."),
        ("- a\n- b\n", "enginehouse.yaml: found a list, wanted a mapping of sections."),
        ("just text", "enginehouse.yaml: found 'just text' (text), wanted a mapping of sections."),
        ("server: {port: 1\n", "enginehouse.yaml, line 2, column 1: "),
        ("a: b: c", "enginehouse.yaml, line 1, column 5: "),
        ("? [a]\n: 1", "enginehouse.yaml, line 1, column 3: a key has to be text."),
        ("a: 1\n---\nb: 2", "enginehouse.yaml, line 2, column 1: but found another document."),
        ("models: &m\n  a: *m\n", "enginehouse.yaml, line 1: models.a contains itself."),
        ("a: \x07", "enginehouse.yaml is not valid YAML: "),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
    ],
)  # fmt: skip
def test_a_mistake_says(refusal, text, message):
    assert message in refusal(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1,}', "enginehouse.json, line 1, column 9: "),
        ('{\n  "server": {"port": 1, "port": 2}\n}', "server.port (line 2): is written twice, first in line 2."),
        ('{\n\t"server": {\n\t\t"prt": 1}}', "server.prt (line 3): there is no such key"),
        ("[]", "enginehouse.json: found a list, wanted a mapping of sections."),
    ],
)
def test_a_mistake_in_json_says(refusal, text, message):
    assert message in refusal(text, name="enginehouse.json")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("PORT", "abc", "server.port (environment PORT): found 'abc' (text), wanted a whole number"),
        ("DEBUG", "app:*", "server.debug (environment DEBUG): found 'app:*' (text), wanted true or false."),
        ("ENGINEHOUSE_SERVER__PORT", "-1", "server.port (environment ENGINEHOUSE_SERVER__PORT): found '-1' (text)"),
        ("ENGINEHOUSE_SERVR__PORT", "1",
         "ENGINEHOUSE_SERVR__PORT: there is no such setting. Did you mean ENGINEHOUSE_SERVER__PORT?"),
        ("ENGINEHOUSE_MODELS__A__SLOT", "1", "Did you mean ENGINEHOUSE_MODELS__A__SLOTS?"),
        ("ENGINEHOUSE_QWERTYUIOP", "1", "ENGINEHOUSE_QWERTYUIOP: there is no such setting."),
        ("ENGINEHOUSE_LIMITS", "{x", "limits (environment ENGINEHOUSE_LIMITS): is not valid JSON: "),
        ("ENGINEHOUSE_LIMITS", '{"windw": 1}',
         "limits.windw (environment ENGINEHOUSE_LIMITS): there is no such key"),
        ("ENGINEHOUSE_LIMITS", "none",
         "limits (environment ENGINEHOUSE_LIMITS): found 'none' (text), wanted a mapping."),
        ("ENGINEHOUSE_RESIDENCY__PRELOAD", "[1]",
         "residency.preload.0 (environment ENGINEHOUSE_RESIDENCY__PRELOAD): found 1"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_variable_names_it(refusal, name, value, message):
    told = refusal("server: {host: h}", **{name: value})
    assert message in told


def test_without_a_file_the_environment_is_blamed():
    with pytest.raises(SettingsError, match=r"^The environment has a mistake:\n  server\.port") as caught:
        load(None, {"PORT": "x"})
    assert caught.value.param == "server.port"
    assert caught.value.code == "settings_error"


def test_a_variable_mends_the_file(read):
    assert read("server: {port: eight}", PORT="8").server.port == 8


def test_all_mistakes_are_listed_each_once(refusal):
    text = "server: {port: x, prot: 1}\nlog: {level: 3}\nsystem: {nope: 1}\nlog: {level: info}\n"
    told = refusal(text, QDRANT_PORT="y", ENGINEHOUSE_NOPE="1").splitlines()
    assert told[0].endswith("enginehouse.yaml has 6 mistakes:")
    assert len(told) == len(set(told)) == 7
    assert all(line.startswith("  ") for line in told[1:])


def test_no_message_repeats_a_secret(refusal):
    for text in (
        "auth: {api_keys: [12345]}",
        "auth: {jwt_secrt: hush12345}",
        "openai: {api_key: {hush12345: 1}}",
        "server: {port: 'redis://:hush12345@host'}",
        "server: {port: 'https://hush12345@host/simple'}",
        "server: {port: 'postgresql://h/d?password=hush12345'}",
    ):
        assert "12345" not in refusal(text)


def test_a_long_value_is_cut(refusal):
    assert len(refusal(f"server: {{port: {'x' * 5000}}}")) < 400


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"server: {host: \xe9}"])
def test_a_file_that_is_not_text(tmp_path: Path, content):
    path = tmp_path / "enginehouse.yaml"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match="is not UTF-8 text: byte"):
        load(path, {})


def test_a_file_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(SettingsError, match="does not exist"):
        load(tmp_path / "gone.yaml", {})
    with pytest.raises(SettingsError, match=r"cannot be read: Is a directory\."):
        load(tmp_path, {})


def message_of(environ) -> str:
    """The refusal, or nothing when the variables are right; anything but a refusal is an error of ours."""
    try:
        load(None, environ)
    except SettingsError as error:
        return error.message
    return ""


@given(st.text(max_size=60))
def test_any_text_in_a_variable_loads_or_is_refused(text):
    for name in ("ENGINEHOUSE_MODELS", "ENGINEHOUSE_SERVER__PORT", "ENGINEHOUSE_RESIDENCY__PRELOAD"):
        message = message_of({name: text})
        assert not message or name in message


@given(st.text(alphabet="ab:-[]{},&*?!'\"#|>% \n\t1.", max_size=30))
def test_any_text_in_a_file_loads_or_is_refused(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        load(path, {})
    except SettingsError as error:
        message = error.message
    else:
        message = str(path)
    assert str(path) in message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["server", "models", "port", "defaults", "flags", "params", "enabled", "a"]), inner
        )
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(["server", "models", "api", "system", "redis", "defaults", "residency"]), JSON)
)
def test_any_tree_loads_or_is_refused(tree):
    message = message_of({f"ENGINEHOUSE_{name.upper()}": json.dumps(value) for name, value in tree.items()})
    assert not message or "mistake" in message


def test_every_key_is_its_own_nearest():
    for key in all_keys():
        assert nearest((*key.path[:-1], key.path[-1][:-1])) is not None


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("redis://:p@h:1/0", "redis://:***@h:1/0"),
        ("postgresql+asyncpg://u:p@h/d", "postgresql+asyncpg://u:***@h/d"),
        ("https://token@host/simple", "https://***@host/simple"),
        ("https://u:p/w@d@host/simple", "https://u:***@host/simple"),
        ("https://host/?Password=p&x=1", "https://host/?Password=***&x=1"),
        ("https://host:80/path", "https://host:80/path"),
        ("someone@example.org", "someone@example.org"),
    ],
)
def test_passwords_of_addresses_are_masked(text, masked):
    assert without_passwords(text) == masked
