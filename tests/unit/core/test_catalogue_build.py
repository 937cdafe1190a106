"""From settings and cards to models."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from enginehouse.core.catalogue import Catalogue, enrich, from_settings
from enginehouse.core.catalogue.defaults import DEFAULT_MODELS
from enginehouse.engines.metadata import Cards, ModelCard
from enginehouse.errors import SettingsError, SourceError
from enginehouse.settings import Settings
from enginehouse.testing.model_files import write_gguf, write_onnx_folder
from enginehouse.types import EngineName, Kind, Price, Priority


def build(models, cards=None, **settings):
    given = Settings.model_validate({"default_models": False, "models": models, **settings})
    return {model.id: model for model in from_settings(given, cards, started=1_700_000_000)}


def one(stated, card=None, **settings):
    return build({"m": stated}, {"m": card} if card else None, **settings)["m"]


def card(**values):
    usual = {"path": Path("m.gguf"), "kind": Kind.CHAT, "engine": EngineName.LLAMA_SERVER, "name": "Card"}
    return ModelCard(**{**usual, **values})


def test_the_defaults_are_there_and_complete():
    models = {model.id: model for model in from_settings(Settings())}
    chat, embedder = models["smollm2"], models["minilm"]
    assert (chat.id, chat.kind, chat.context_length) == ("smollm2", Kind.CHAT, 8192)
    assert chat.capabilities[:2] == ("chat", "completion")
    assert (embedder.id, embedder.kind, embedder.context_length) == ("minilm", Kind.EMBEDDING, 256)
    assert {model.origin for model in (chat, embedder)} == {"default"}
    for model in (chat, embedder):
        [deployment] = model.deployments
        assert deployment.source == DEFAULT_MODELS[model.id].source
        assert deployment.sha256 == DEFAULT_MODELS[model.id].sha256
    Catalogue(models.values())


def test_classifiers_are_there_too_and_those_on_the_hub_wait_to_be_pulled():
    models = {model.id: model for model in from_settings(Settings()) if model.kind is Kind.CLASSIFIER}
    for name in ("guard", "nanoguard"):
        [place] = models.pop(name).deployments
        assert Path(place.source).is_dir()
        assert place.slots > 1
    assert models.keys() == {
        f"{name}_pretrained"
        for name in ("deberta-v3-base", "roberta-base", "bert-base-uncased", "distilbert-base-uncased")
    }
    for model in models.values():
        assert {file.partition(":")[0] for file in model.deployments[0].source.values()} == {"hf"}


def test_an_entry_of_ones_own_replaces_a_default():
    settings = Settings.model_validate({"models": {"smollm2": {"source": "mine.gguf"}}})
    models = {model.id: model for model in from_settings(settings)}
    assert models["smollm2"].deployments[0].source == "mine.gguf"
    assert (models["smollm2"].origin, models["minilm"].origin) == ("settings", "default")


def test_what_is_stated_arrives():
    model = one(
        {
            "source": "m.gguf",
            "name": "Mine",
            "aliases": ["x"],
            "flags": ["--mlock"],
            "context_length": 4096,
            "max_tokens": 100,
            "slots": 3,
            "capabilities": ["text-generation"],
            "price": {"input_per_1k": "0.03"},
            "priority": "high",
            "ttl": 60,
            "pinned": True,
            "preload": True,
        },
        card(context_length=8192, capabilities=("chat", "tools"), modified=5),
    )
    assert (model.name, model.aliases, model.capabilities) == ("Mine", ("x",), ("text-generation",))
    assert (model.context_length, model.max_tokens, model.created) == (4096, 100, 5)
    assert (model.price, model.priority, model.ttl) == (Price(input_per_1k="0.03"), Priority.HIGH, 60)
    assert (model.pinned, model.preload, model.origin) == (True, True, "settings")
    [deployment] = model.deployments
    assert (deployment.id, deployment.model, deployment.slots) == ("m", "m", 3)
    assert (deployment.flags, deployment.context_length) == (("--mlock",), 4096)


def test_what_is_left_out_is_read_from_the_card():
    model = one({"source": "m.gguf"}, card(context_length=512, kind=Kind.RERANK, capabilities=("rerank",)))
    assert (model.name, model.kind, model.context_length) == ("Card", Kind.RERANK, 512)
    assert model.capabilities == ("rerank",)
    assert model.deployments[0].context_length is None


def test_without_a_card_the_usual_holds():
    model = one({"source": "hf:org/repo/file.gguf"}, admission={"default_slots": 4})
    assert (model.kind, model.capabilities, model.context_length) == (Kind.CHAT, ("chat",), None)
    assert (model.deployments[0].slots, model.created) == (4, 1_700_000_000)


@pytest.mark.parametrize(
    ("stated", "engine", "kind"),
    [
        ({"source": "a.gguf"}, EngineName.LLAMA_SERVER, Kind.CHAT),
        ({"source": "hf:o/r/a.GGUF@main"}, EngineName.LLAMA_SERVER, Kind.CHAT),
        ({"source": {"a-00001-of-00001.gguf": "x"}}, EngineName.LLAMA_SERVER, Kind.CHAT),
        ({"source": {"model.onnx": "x", "tokenizer.json": "y"}}, EngineName.ONNX, Kind.EMBEDDING),
        ({"source": "/models/bge"}, EngineName.ONNX, Kind.EMBEDDING),
        ({"base_url": "http://localhost:9/v1"}, EngineName.OPENAI, Kind.CHAT),
        ({"engine": "anthropic"}, EngineName.ANTHROPIC, Kind.CHAT),
        ({"engine": "openai", "kind": "embedding"}, EngineName.OPENAI, Kind.EMBEDDING),
        ({"engine": "llama_server", "flags": ["-m", "a.gguf"]}, EngineName.LLAMA_SERVER, Kind.CHAT),
    ],
)
def test_engine_and_kind_follow_from_what_is_there(stated, engine, kind):
    model = one(stated)
    assert (model.deployments[0].engine, model.kind, model.deployments[0].kind) == (engine, kind, kind)


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({}, r"models\.m: says neither"),
        ({"engine": "onnx"}, r"models\.m\.source: the engine onnx needs one"),
        ({"engine": "openai", "deployments": [{"engine": "onnx"}]}, r"models\.m\.deployments: onnx runs here"),
    ],
)
def test_an_entry_that_says_too_little_is_named(stated, words):
    with pytest.raises(SettingsError, match=words):
        one(stated)


@pytest.mark.parametrize(
    ("id_", "version"),
    [
        ("bert@2", "2"),
        ("a/b@1.0", "1.0"),
        ("@cf/meta/llama", None),
        ("bert@", None),
        ("bert", None),
        ("a@b/c", None),
    ],
)
def test_a_version_is_what_follows_the_last_at(id_, version):
    assert build({id_: {"engine": "openai"}})[id_].version == version


def test_a_provider_gives_address_and_key_but_never_its_key_to_another_address():
    openai = {"base_url": "https://a.example/v1", "api_key": "secret"}
    usual = one({"engine": "openai"}, openai=openai).deployments[0]
    other = one({"engine": "openai", "base_url": "https://b.example"}, openai=openai).deployments[0]
    own = one({"engine": "openai", "api_key": "mine"}, openai=openai).deployments[0]
    assert (usual.base_url, usual.api_key) == ("https://a.example/v1", "secret")
    assert (other.base_url, other.api_key) == ("https://b.example", None)
    assert (own.base_url, own.api_key) == ("https://a.example/v1", "mine")
    assert "secret" not in repr(usual)


def test_preload_of_the_residency_section_counts():
    models = {"a": {"engine": "openai"}, "b": {"engine": "openai", "aliases": ["x"]}, "c": {"engine": "openai"}}
    loaded = build(models, residency={"preload": ["a", "x"]})
    assert [model.preload for model in loaded.values()] == [True, True, False]
    assert all(model.preload for model in build(models, residency={"preload": ["*"]}).values())


async def test_enriching_reads_what_is_here_and_leaves_the_rest(tmp_path):
    gguf = write_gguf(tmp_path / "a.gguf", values={"llama.context_length": 512})
    folder = write_onnx_folder(tmp_path / "bge", padded=32)
    (tmp_path / "broken.gguf").write_bytes(b"GGUF")
    pulled = {"hf:o/r/a.gguf": gguf, str(folder): folder, "broken": tmp_path / "broken.gguf"}

    def locate(source, sha256):
        if source == "pypi:nonsense":
            raise SourceError("no such spec")
        return pulled.get(source)

    sources = {"here": "hf:o/r/a.gguf", "bge": str(folder), "far": "hf:o/r/b.gguf", "spoilt": "broken"}
    entries = {id_: {"source": source} for id_, source in {**sources, "odd": "pypi:nonsense"}.items()}
    settings = Settings.model_validate({"default_models": False, "models": entries})
    with capture_logs() as lines:
        models = {model.id: model for model in await enrich(settings, Cards(), locate)}
    lengths = {id_: model.context_length for id_, model in models.items()}
    assert lengths == {"here": 512, "bge": 32, "far": None, "spoilt": None, "odd": None}
    assert models["bge"].deployments[0].engine is EngineName.ONNX
    assert models["here"].created == int(gguf.stat().st_mtime)
    assert {line["model"]: line["reason"].split(":")[0] for line in lines} == {
        "spoilt": "broken.gguf is not a whole GGUF file",
        "odd": "no such spec",
    }


@pytest.mark.parametrize(
    ("flags", "tools"),
    [
        ([], False),
        (["--chat-template-file", "{folder}/tools.jinja"], True),
        (["--chat-template-file", "{folder}/plain.jinja"], False),
        (["--chat-template-file", "{folder}/nowhere.jinja"], False),
        (["--jinja", "--chat-template", "{{% if tools %}}"], True),
    ],
)
async def test_a_template_of_the_flags_says_whether_there_are_tools(tmp_path, flags, tools):
    write_gguf(tmp_path / "a.gguf", values={"tokenizer.chat_template": "{{ messages }}"})
    (tmp_path / "tools.jinja").write_text("{% for tool in tools %}")
    (tmp_path / "plain.jinja").write_text("{{ messages }}")
    flags = [flag.format(folder=tmp_path) for flag in flags]
    models = {"a": {"source": str(tmp_path / "a.gguf"), "flags": flags}}
    settings = Settings.model_validate({"models": models, "default_models": False})
    [model] = await enrich(settings, Cards(), lambda source, sha256: tmp_path / "a.gguf")
    assert ("tools" in model.capabilities) is tools
    assert "chat" in model.capabilities
