"""Every variable that the services before this one knew, and one for every key."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from enginehouse.settings import load
from enginehouse.settings.environment import NAMES, variable
from enginehouse.settings.keys import all_keys

EXPECTED = {
    "HOST": ("0.0.0.0", lambda s: s.server.host, "0.0.0.0"),
    "PORT": ("8003", lambda s: s.server.port, 8003),
    "DEBUG": ("true", lambda s: s.server.debug, True),
    "API_KEY": ("your-secret,api-key", lambda s: s.auth.api_keys, (SecretStr("your-secret,api-key"),)),
    "MES_API_KEY": ("mes", lambda s: s.auth.api_keys, (SecretStr("mes"),)),
    "JWT_SECRET": ("j", lambda s: s.auth.jwt_secret, SecretStr("j")),
    "JWT_ALGORITHM": ("HS512", lambda s: s.auth.jwt_algorithm, "HS512"),
    "LOG_LEVEL": ("WARNING", lambda s: s.log.level, "warning"),
    "LOG_FORMAT": ("json", lambda s: s.log.format, "json"),
    "BASE_MODELS_PATH": ("/app/models", lambda s: s.sources.base_dir, Path("/app/models")),
    "PIP_INDEX_URL": ("http://mirror/simple", lambda s: s.sources.pypi_index, "http://mirror/simple"),
    "HF_ENDPOINT": ("http://hub", lambda s: s.sources.hf_endpoint, "http://hub"),
    "HF_TOKEN": ("t", lambda s: s.sources.hf_token, SecretStr("t")),
    "LLAMA_SERVER_PATH": ("/app/llama-server", lambda s: s.engines.llama_server.path, Path("/app/llama-server")),
    "MAX_LOADED_MODELS": ("2", lambda s: s.residency.max_models, 2),
    "DEFAULT_TIMEOUT": ("30", lambda s: s.admission.request_timeout, 30.0),
    "RATE_LIMIT_REQUESTS": ("100", lambda s: s.limits.requests, 100),
    "RATE_LIMIT_WINDOW": ("61", lambda s: s.limits.window, 61.0),
    "MAX_REQUESTS_PER_HOUR": ("101", lambda s: s.limits.requests_per_hour, 101),
    "MAX_QUEUE_SIZE": ("51", lambda s: s.limits.chat_queue_size, 51),
    "L1_CACHE_TTL": ("86401", lambda s: s.cache.exact_ttl, 86401.0),
    "L2_CACHE_TTL": ("604801", lambda s: s.cache.semantic_ttl, 604801.0),
    "DATABASE_URL": ("postgresql+asyncpg://u:p@h/d", lambda s: s.stores.database_url, "postgresql+asyncpg://u:p@h/d"),
    "REDIS_URL": ("redis://localhost:6379/0", lambda s: s.stores.redis_url, "redis://localhost:6379/0"),
    "QDRANT_URL": ("https://qdrant:6333", lambda s: s.qdrant.url, "https://qdrant:6333"),
    "QDRANT_HOST": ("localhost", lambda s: s.qdrant.host, "localhost"),
    "QDRANT_PORT": ("6334", lambda s: s.qdrant.port, 6334),
    "QDRANT_API_KEY": ("q", lambda s: s.qdrant.api_key, SecretStr("q")),
    "OPENAI_API_KEY": ("o", lambda s: s.openai.api_key, SecretStr("o")),
    "OPENAI_ORGANIZATION": ("org", lambda s: s.openai.organization, "org"),
    "ANTHROPIC_API_KEY": ("a", lambda s: s.anthropic.api_key, SecretStr("a")),
    "MODEL_SERVER_URL": ("http://localhost:11434", lambda s: s.ollama.base_url, "http://localhost:11434"),
    "OLLAMA_HOST": ("http://ollama:11434", lambda s: s.ollama.base_url, "http://ollama:11434"),
    "MODEL_NAME": ("tinyllama", lambda s: s.default_chat_model, "tinyllama"),
    "OTEL_EXPORTER_OTLP_ENDPOINT": ("http://c:4318", lambda s: s.telemetry.otlp_endpoint, "http://c:4318"),
    "OTEL_EXPORTER_OTLP_HEADERS": ("k=v", lambda s: s.telemetry.otlp_headers, SecretStr("k=v")),
    "OTEL_SERVICE_NAME": ("house", lambda s: s.telemetry.service_name, "house"),
}  # fmt: skip


def test_every_named_variable_is_tried_here():
    assert EXPECTED.keys() == NAMES.keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_a_named_variable_sets_its_key(name):
    text, value_of, expected = EXPECTED[name]
    settings = load(None, {name: text})
    assert value_of(settings) == expected
    assert settings.origins == {NAMES[name]: f"environment {name}"}


def test_every_named_variable_names_a_key():
    assert set(NAMES.values()) <= {key.name for key in all_keys()}


def test_the_own_name_wins_over_the_older_one():
    environ = {"ENGINEHOUSE_SERVER__PORT": "1", "PORT": "2", "API_KEY": "a", "MES_API_KEY": "b"}
    settings = load(None, environ)
    assert settings.server.port == 1
    assert settings.auth.api_keys == (SecretStr("a"),)


@pytest.mark.parametrize(
    "key", [key for key in all_keys() if "models" not in key.path[:1]], ids=lambda key: key.name
)
def test_every_key_has_a_variable(key):
    text = {"integer": "7", "number": "1", "boolean": "false", "array": "[]", "object": "{}"}.get(
        key.node.get("type"), "7"
    )
    value = key.node["enum"][0] if "enum" in key.node else text
    assert load(None, {variable(key.name): value}).origins == {key.name: f"environment {variable(key.name)}"}


def test_lists_are_json_or_between_commas():
    for text in ("0, 1", "[0, 1]"):
        settings = load(None, {"ENGINEHOUSE_ENGINES__LLAMA_SERVER__GPU_DEVICES": text})
        assert settings.engines.llama_server.gpu_devices == (0, 1)


def test_a_whole_section_is_json_and_a_single_key_wins_over_it():
    settings = load(None, {"ENGINEHOUSE_SERVER": '{"port": 1, "host": "h"}', "ENGINEHOUSE_SERVER__PORT": "2"})
    assert (settings.server.port, settings.server.host) == (2, "h")


def test_a_model_of_the_file_is_named_without_its_punctuation(read):
    text = "models: {'llama3.1:8b': {}, Org/Qwen-7B: {}}"
    settings = read(text, ENGINEHOUSE_MODELS__LLAMA3_1_8B__SLOTS="2", ENGINEHOUSE_MODELS__ORG_QWEN_7B__API_KEY="k")
    assert settings.models["llama3.1:8b"].slots == 2
    assert settings.models["Org/Qwen-7B"].api_key == SecretStr("k")
    assert settings.origins["models.llama3.1:8b.slots"] == "environment ENGINEHOUSE_MODELS__LLAMA3_1_8B__SLOTS"


def test_a_model_may_be_made_of_variables_alone():
    settings = load(None, {"ENGINEHOUSE_MODELS__TINY__SOURCE": "/m/tiny.gguf"})
    assert settings.models["tiny"].source == "/m/tiny.gguf"


def test_an_empty_variable_is_not_set(read):
    settings = read("stores: {redis_url: 'redis://r'}", REDIS_URL="", DATABASE_URL=" ", ENGINEHOUSE_SERVER__PORT="")
    assert settings.stores.redis_url == "redis://r"
    assert settings == read("stores: {redis_url: 'redis://r'}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ENGINEHOUSE_PORT", "tcp://10.0.0.1:8000"),
        ("ENGINEHOUSE_PORT_8000_TCP", "tcp://10.0.0.1:8000"),
        ("ENGINEHOUSE_PORT_8000_TCP_ADDR", "10.0.0.1"),
        ("ENGINEHOUSE_PORT_8000_TCP_PORT", "8000"),
        ("ENGINEHOUSE_SERVICE_HOST", "10.0.0.1"),
        ("ENGINEHOUSE_SERVICE_PORT", "8000"),
        ("ENGINEHOUSE_SERVICE_PORT_HTTP", "8000"),
        ("ENGINEHOUSE_REDIS_PORT", "tcp://10.0.0.2:6379"),
        ("QDRANT_PORT", "tcp://10.0.0.3:6333"),
    ],
)
def test_what_kubernetes_says_of_services_is_no_setting(name, value):
    assert load(None, {name: value}).origins == {}


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("ollama", "http://ollama:11434"),
        ("ollama:1234", "http://ollama:1234"),
        ("https://ollama.example", "https://ollama.example"),
    ],
)
def test_ollamas_own_variable_is_read_as_ollama_writes_it(host, url):
    assert load(None, {"OLLAMA_HOST": host}).ollama.base_url == url
    assert load(None, {"OLLAMA_HOST": host, "MODEL_SERVER_URL": "http://first"}).ollama.base_url == "http://first"


def test_variables_of_others_are_left_alone():
    assert load(None, {"PATH": "/bin", "LANG": "C", "SERVER__PORT": "x"}).origins == {}
