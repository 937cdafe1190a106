"""The configurations of the services before this one load unchanged."""

import json
from pathlib import Path

import pytest

from enginehouse.settings.keys import node_at
from enginehouse.settings.legacy import M2, M3, M4_DEFAULTS, MODEL, is_m3, is_m4, translated
from enginehouse.settings.schema import ModelSettings, Settings
from enginehouse.types import EngineName, Kind

M3_DOCUMENTED = """
{
  "api": {"host": "0.0.0.0", "port": 8000},
  "system": {
    "llama_server_path": "/path/to/llama-server",
    "base_models_path": "/path/to/models",
    "max_concurrent_models": 3,
    "preload_models": ["*"],
    "enable_idle_timeout": false,
    "gpu_devices": [0],
    "default_parallel": 1
  },
  "models": {
    "qwen-7b": {
      "model_path": "qwen-7b.gguf",
      "flags": ["-ngl", "99", "--ctx-size", "8192", "--flash-attn", "on", "--mlock", "--jinja"]
    },
    "llama-3b": {
      "model_path": "/elsewhere/llama-3b.gguf",
      "flags": ["-ngl", "80", "--ctx-size", "4096", "--cache-type-k", "q4_0", "--cache-type-v", "q4_0"]
    },
    "embedding-model": {
      "model_path": "embedding.gguf",
      "flags": ["-ngl", "99", "--ctx-size", "4096", "--embedding"]
    }
  },
  "redis": {
    "url": "redis://localhost:6379/0",
    "enable_cache": true,
    "cache_ttl_sec": 3600,
    "enable_queue": false
  },
  "rate_limit": {"requests_per_minute": 60, "redis_url": "redis://localhost:6379/1"}
}
"""

M4_PUBLISHED = """
{
  "models": {
    "llama3.1:8b": {
      "display_name": "Llama 3.1 8B", "enabled": true, "preload": true, "max_concurrent": 3, "timeout": 25,
      "size_gb": 4.7, "min_memory_gb": 8, "context_window": 8192, "supports_json_mode": true,
      "default_temperature": 0.1
    },
    "gemma:2b": {"display_name": "Gemma 2B", "enabled": true, "supports_json_mode": false},
    "phi3:mini": {"display_name": "Phi-3 Mini", "enabled": false, "max_concurrent": 5}
  },
  "defaults": {"temperature": 0.7, "max_tokens": 1000, "timeout": 30}
}
"""

M3_VALUES = {
    "api.host": ("10.1.1.1", lambda s: s.server.host, "10.1.1.1"),
    "api.cors_origins": (["http://a"], lambda s: s.server.cors_origins, ("http://a",)),
    "api.port": (9001, lambda s: s.server.port, 9001),
    "api.rate_limit.requests_per_minute": (7, lambda s: s.limits.requests, 7),
    "api.rate_limit.redis_url": ("redis://a", lambda s: s.stores.redis_url, "redis://a"),
    "system.llama_server_path": ("/bin/ls", lambda s: s.engines.llama_server.path, Path("/bin/ls")),
    "system.base_models_path": ("/models", lambda s: s.sources.base_dir, Path("/models")),
    "system.max_concurrent_models": (5, lambda s: s.residency.max_models, 5),
    "system.preload_models": (["a", "b"], lambda s: s.residency.preload, ("a", "b")),
    "system.enable_idle_timeout": (False, lambda s: s.residency.enable_idle_timeout, False),
    "system.idle_timeout_sec": (61, lambda s: s.residency.idle_timeout, 61.0),
    "system.request_timeout_sec": (62, lambda s: s.admission.request_timeout, 62.0),
    "system.gpu_devices": ([1, 2], lambda s: s.engines.llama_server.gpu_devices, (1, 2)),
    "system.default_parallel": (4, lambda s: s.admission.default_slots, 4),
    "system.parallel_requests": (4, lambda s: s.admission.default_slots, 4),
    "system.max_queue_size_per_model": (9, lambda s: s.admission.max_queue_size, 9),
    "system.vram_multiplier": (1.5, lambda s: s.residency.vram_multiplier, 1.5),
    "system.queue_timeout_sec": (63, lambda s: s.admission.queue_timeout, 63.0),
    "system.wait_ready_sec": (64, lambda s: s.residency.load_timeout, 64.0),
    "redis.url": ("redis://b", lambda s: s.stores.redis_url, "redis://b"),
    "redis.enable_cache": (False, lambda s: s.cache.enabled, False),
    "redis.cache_ttl_sec": (65, lambda s: (s.cache.exact_ttl, s.cache.semantic_ttl), (65.0, 65.0)),
    "redis.enable_queue": (True, lambda s: s.stores.enable_queue, True),
    "redis.enable_redis_queue": (True, lambda s: s.stores.enable_queue, True),
    "rate_limit.requests_per_minute": (66, lambda s: s.limits.requests, 66),
    "rate_limit.redis_url": ("redis://c", lambda s: s.stores.redis_url, "redis://c"),
}

M2_VALUES = {
    "max_memory_usage": (0.5, lambda s: s.residency.max_memory_usage, 0.5),
    "cache_ttl": (3600, lambda s: s.residency.idle_timeout, 3600.0),
    "preload_models": (["deberta"], lambda s: s.residency.preload, ("deberta",)),
    "warmup_requests": (3, lambda s: s.residency.warmup_requests, 3),
    "enable_auto_scaling": (False, lambda s: s.residency.enable_auto_scaling, False),
    "memory_threshold": (0.4, lambda s: s.residency.memory_threshold, 0.4),
    "cleanup_interval": (30, lambda s: s.residency.cleanup_interval, 30.0),
    "max_models": (4, lambda s: s.residency.max_models, 4),
}


def nested(key, value):
    for name in reversed(key.split(".")):
        value = {name: value}
    return value


# M3 ------------------------------------------------------------------------------------------------------


def test_the_documented_m3_file_loads(read):
    settings = read(M3_DOCUMENTED, name="config.json")
    assert settings.server.host == "0.0.0.0"
    assert settings.residency.preload == ("*",)
    assert settings.stores.redis_url == "redis://localhost:6379/0"
    assert settings.limits.requests == 60
    assert not settings.default_models
    assert not settings.ollama.discover
    assert settings.models == {
        "qwen-7b": ModelSettings(
            source="/path/to/models/qwen-7b.gguf",
            flags=("-ngl", "99", "--ctx-size", "8192", "--flash-attn", "on", "--mlock", "--jinja"),
            context_length=8192,
        ),
        "llama-3b": ModelSettings(
            source="/elsewhere/llama-3b.gguf",
            flags=("-ngl", "80", "--ctx-size", "4096", "--cache-type-k", "q4_0", "--cache-type-v", "q4_0"),
            context_length=4096,
        ),
        "embedding-model": ModelSettings(
            source="/path/to/models/embedding.gguf",
            flags=("-ngl", "99", "--ctx-size", "4096", "--embedding"),
            context_length=4096,
            kind=Kind.EMBEDDING,
        ),
    }


def test_every_m3_key_with_a_counterpart_is_tried_here():
    assert M3_VALUES.keys() == {key for key, targets in M3.items() if targets}


@pytest.mark.parametrize("key", M3_VALUES)
def test_an_m3_key_lands_where_it_belongs(read, key):
    value, value_of, expected = M3_VALUES[key]
    assert value_of(read(json.dumps(nested(key, value)), name="config.json")) == expected


@pytest.mark.parametrize("key", [key for key, targets in M3.items() if not targets])
def test_an_m3_key_without_counterpart_is_accepted(read, key):
    settings = read(json.dumps(nested(key, 1)))
    assert settings.model_copy(update={"default_models": True}).residency.load_timeout == 600.0


def test_m3_defaults_hold_for_what_its_system_section_leaves_out(read):
    settings = read('{"system": {}}', name="config.json")
    assert settings.residency.max_models == 3
    assert settings.admission.request_timeout == 120.0
    assert settings.engines.llama_server.gpu_devices == (0,)
    assert settings.server.host == "127.0.0.1"


def test_variables_win_over_an_m3_file(read):
    settings = read(M3_DOCUMENTED, name="config.json", BASE_MODELS_PATH="/app/models", LLAMA_SERVER_PATH="/app/ls")
    assert settings.models["qwen-7b"].source == "/app/models/qwen-7b.gguf"
    assert settings.engines.llama_server.path == Path("/app/ls")


def test_sections_that_are_switched_off_and_notes_are_accepted(read):
    text = """{"_README": "guide", "api": {"port": 8000, "rate_limit": null, "_comment": "off"}, "redis": null,
    "system": {"llama_server_path": "", "base_models_path": ""},
    "models": {"_comment": "none", "a": {"model_path": "/a"}}}"""
    settings = read(text, name="config.json")
    assert list(settings.models) == ["a"]
    assert settings.stores.redis_url == ""
    assert settings.engines.llama_server.path is None


def test_own_words_win_over_translated_ones(read):
    settings = read("server: {port: 1}\napi: {port: 2, host: h}")
    assert (settings.server.port, settings.server.host) == (1, "h")


def test_the_first_form_of_m3_models_becomes_flags(read):
    text = """{"system": {}, "models": {"e": {"model_path": "/e.gguf", "params": {
        "embedding": true, "n_gpu_layers": 0, "n_ctx": 2048, "parallel_override": 2, "n_batch": 256,
        "batch_override": 512,
        "chat_template": null, "type_k": "q8_0", "type_v": "", "rope_freq_base": null}}}}"""
    model = read(text, name="config.json").models["e"]
    assert model.flags == (
        "--n-gpu-layers", "0", "--ctx-size", "2048", "--batch-size", "512", "--parallel", "2",
        "--cache-type-k", "q8_0", "--embedding",
    )  # fmt: skip
    assert (model.kind, model.slots, model.context_length) == (Kind.EMBEDDING, 2, 1024)


def test_an_m3_model_wants_its_path(refusal):
    assert "models.a.model_path (line 1): is missing, wanted a path." in refusal(
        '{"system": {}, "models": {"a": {}}}'
    )


def test_is_m3():
    assert is_m3({"system": {}})
    assert is_m3({"api": {}})
    assert not is_m3({"server": {}, "models": {}})


# M4 ------------------------------------------------------------------------------------------------------


def test_an_m4_file_loads(read):
    settings = read(M4_PUBLISHED, name="models.json")
    assert list(settings.models) == ["llama3.1:8b", "gemma:2b"]
    assert not settings.default_models
    assert not settings.ollama.discover
    llama, gemma = settings.models.values()
    assert (llama.engine, llama.name, llama.preload, llama.slots) == (EngineName.OLLAMA, "Llama 3.1 8B", True, 3)
    assert (llama.request_timeout, llama.context_length, llama.capabilities) == (25.0, 8192, ("json_mode",))
    assert (llama.defaults.temperature, llama.defaults.max_tokens) == (0.1, 1000)
    assert (gemma.request_timeout, gemma.defaults.temperature, gemma.capabilities) == (30.0, 0.7, ())
    assert llama.source is None


def test_an_m4_model_beside_our_sections_is_still_ollamas(read):
    settings = read("server: {port: 1}\nmodels: {a: {display_name: A}, b: {source: /b.gguf, timeout: 3}}")
    assert settings.models["a"].engine is EngineName.OLLAMA
    assert settings.models["b"].engine is None
    assert settings.models["b"].request_timeout == 3.0
    assert settings.default_models
    assert settings.ollama.discover


def test_is_m4():
    assert is_m4(json.loads(M4_PUBLISHED))
    assert is_m4({"models": {"a": {"enabled": True}}})
    assert not is_m4({"models": {"a": {"source": "/a"}}})
    assert not is_m4({"models": {"a": {"enabled": True}}, "server": {}})
    assert not is_m4({"defaults": {}})


def test_defaults_are_a_word_of_m4_alone(refusal):
    assert "defaults (line 2): there is no such key" in refusal("server: {}\ndefaults: {temperature: 1}")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('"enabled": "no"', "models.a.enabled (line 1): found 'no' (text), wanted true or false."),
        (
            '"supports_json_mode": 1',
            "models.a.supports_json_mode (line 1): found 1 (whole number), wanted true or false.",
        ),
        (
            '"max_concurrent": "x"',
            "models.a.max_concurrent (line 1): found 'x' (text), wanted a whole number at least 1",
        ),
        ('"display_nam": "x"', "Did you mean models.a.display_name?"),
        ('"enabled": true, "params": 3', "models.a.params (line 1): found 3 (whole number), wanted a mapping."),
        ('"enabled": true, "params": {"n_ctxt": 3}', "Did you mean models.a.params.n_ctx?"),
    ],
)
def test_mistakes_in_models_use_the_words_of_the_file(refusal, entry, message):
    assert message in refusal(f'{{"models": {{"a": {{{entry}}}}}}}', name="models.json")


@pytest.mark.parametrize(
    ("defaults", "message"),
    [
        ('{"tempurature": 1}', "found a whole number). Did you mean defaults.temperature?"),
        ('{"temperature": "hot"}', "defaults.temperature (line 1): found 'hot' (text), wanted a number at least 0"),
        ("3", "defaults (line 1): found 3 (whole number), wanted a mapping."),
    ],
)  # fmt: skip
def test_mistakes_in_defaults_are_told_once(refusal, defaults, message):
    told = refusal(f'{{"models": {{"a": {{}}, "b": {{}}}}, "defaults": {defaults}}}', name="models.json")
    assert message in told
    assert "has a mistake" in told


# M2 ------------------------------------------------------------------------------------------------------


def test_every_m2_key_is_tried_here():
    assert M2_VALUES.keys() == M2.keys()


@pytest.mark.parametrize("section", ["CACHE_CONFIG", "cache_config", "residency"])
@pytest.mark.parametrize("key", M2_VALUES)
def test_an_m2_key_lands_where_it_belongs(read, key, section):
    value, value_of, expected = M2_VALUES[key]
    assert value_of(read(json.dumps({section: {key: value}}))) == expected


# All -----------------------------------------------------------------------------------------------------


def test_every_target_is_a_key():
    targets = [name for moves in (M3, M2) for names in moves.values() for name in names]
    of_models = [name for moves in (MODEL, M4_DEFAULTS) for names in moves.values() for name in names]
    paths = [*(name.split(".") for name in targets), *(["models", "x", *name.split(".")] for name in of_models)]
    assert [path for path in paths if node_at(path) is None] == []


def test_what_is_translated_is_not_changed():
    data = json.loads(M3_DOCUMENTED) | {"CACHE_CONFIG": {"max_models": 1}}
    before = json.dumps(data)
    translated(data)
    assert json.dumps(data) == before


def test_our_own_settings_are_not_translated():
    data = Settings().model_dump(mode="json", exclude={"data_dir"})
    assert translated(data).data == data
