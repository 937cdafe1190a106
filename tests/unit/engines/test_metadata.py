"""What model files say of themselves."""

import os
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enginehouse.engines.metadata import Cards, describe, fingerprint, part_of
from enginehouse.errors import ModelLoadFailed
from enginehouse.testing.model_files import write_gguf, write_onnx_folder
from enginehouse.types import EngineName, Kind

CHAT = {
    "general.name": "Tiny Chat",
    "general.file_type": 15,
    "llama.context_length": 4096,
    "llama.embedding_length": 64,
    "tokenizer.chat_template": "{% for message in messages %}{{ message.content }}{% endfor %}",
}


def test_a_chat_model(tmp_path):
    file = write_gguf(tmp_path / "tiny.gguf", values=CHAT, weights=640)
    card = describe(file)
    assert (card.kind, card.engine, card.name) == (Kind.CHAT, EngineName.LLAMA_SERVER, "Tiny Chat")
    assert (card.architecture, card.context_length, card.embedding_size) == ("llama", 4096, 64)
    assert (card.quantisation, card.parameters, card.size) == ("Q4_K_M", 640, file.stat().st_size)
    assert card.chat_template
    assert card.capabilities == ("chat", "completion", "json_schema")


def test_a_template_that_takes_tools(tmp_path):
    values = {**CHAT, "tokenizer.chat_template": "{% if tools %}{{ tools | tojson }}{% endif %}"}
    assert "tools" in describe(write_gguf(tmp_path / "a.gguf", values=values)).capabilities


def test_without_a_template_it_completes(tmp_path):
    card = describe(write_gguf(tmp_path / "base-model.gguf"))
    assert (card.name, card.capabilities) == ("base-model", ("completion", "json_schema"))
    assert (card.context_length, card.quantisation) == (None, None)


@pytest.mark.parametrize(
    ("architecture", "values", "kind", "capabilities"),
    [
        ("bert", {"bert.pooling_type": 2}, Kind.EMBEDDING, ("embedding",)),
        ("nomic-bert", {}, Kind.EMBEDDING, ("embedding",)),
        ("qwen3", {"qwen3.pooling_type": 3}, Kind.EMBEDDING, ("embedding",)),
        ("qwen3", {"qwen3.pooling_type": 0}, Kind.CHAT, ("completion", "json_schema")),
        ("bert", {"bert.pooling_type": 4}, Kind.RERANK, ("rerank",)),
    ],
)
def test_pooling_makes_an_embedder_or_a_ranker(tmp_path, architecture, values, kind, capabilities):
    card = describe(write_gguf(tmp_path / "a.gguf", architecture=architecture, values=values))
    assert (card.kind, card.capabilities) == (kind, capabilities)


def test_values_of_an_unexpected_type_are_left_out(tmp_path):
    values = {"llama.context_length": "many", "general.file_type": 9999, "general.name": 7}
    card = describe(write_gguf(tmp_path / "a.gguf", values=values))
    assert (card.context_length, card.quantisation, card.name) == (None, None, "a")


@pytest.mark.parametrize("values", [{"general.type": "adapter"}, {"general.type": "mmproj"}])
def test_what_cannot_answer_by_itself_is_refused(tmp_path, values):
    with pytest.raises(ModelLoadFailed, match="is no model of its own"):
        describe(write_gguf(tmp_path / "a.gguf", values=values))


def test_a_long_vocabulary_is_stepped_over(tmp_path):
    file = write_gguf(tmp_path / "a.gguf", values={**CHAT, "general.tags": ["one", "two"]}, tokens=20_000)
    assert describe(file).context_length == 4096


def test_parts_are_one_model(tmp_path):
    first = write_gguf(tmp_path / "big[1]-00001-of-00002.gguf", values={"llama.context_length": 512})
    with pytest.raises(ModelLoadFailed, match="not all there: 1 of 2 files"):
        describe(first)
    second = write_gguf(tmp_path / "big[1]-00002-of-00002.gguf", weights=36)
    card = describe(first)
    assert (card.name, card.path, card.parameters) == ("big[1]", first, 100)
    assert card.size == first.stat().st_size + second.stat().st_size
    assert describe(second) == card
    assert describe(tmp_path) == card
    assert part_of(second) == ("big[1]", 2)


def test_an_onnx_folder(tmp_path):
    config = {"config.json": {"model_type": "bert", "hidden_size": 8, "max_position_embeddings": 64}}
    card = describe(write_onnx_folder(tmp_path / "tiny", config=config))
    assert (card.kind, card.engine, card.name) == (Kind.EMBEDDING, EngineName.ONNX, "tiny")
    assert (card.context_length, card.embedding_size, card.capabilities) == (64, 8, ("embedding",))
    assert (card.pooling, card.size) == ("mean", (tmp_path / "tiny" / "model.onnx").stat().st_size)


@pytest.mark.parametrize("cut", [0, 1, 100, 2000])
def test_a_copy_under_way_is_not_whole(tmp_path, cut):
    gguf = write_gguf(tmp_path / "a.gguf", values=CHAT)
    onnx = write_onnx_folder(tmp_path / "tiny") / "model.onnx"
    for file, place in ((gguf, gguf), (onnx, onnx.parent)):
        os.truncate(file, cut)
        with pytest.raises(ModelLoadFailed, match="is not a whole"):
            describe(place)


def test_nothing_and_something_else(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    for place in (tmp_path, tmp_path / "missing", tmp_path / "notes.txt"):
        with pytest.raises(ModelLoadFailed) as caught:
            describe(place)
        assert str(tmp_path) not in caught.value.message


spots = st.lists(st.tuples(st.integers(0, 1000), st.binary(min_size=1, max_size=12)), min_size=1, max_size=4)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spots)
def test_a_spoilt_file_gives_a_card_or_a_reason(tmp_path, spots):
    file = write_gguf(tmp_path / "a.gguf", values=CHAT, tokens=70)
    content = bytearray(file.read_bytes())
    for place, patch in spots:
        content[place : place + len(patch)] = patch
    file.write_bytes(content)
    with suppress(ModelLoadFailed):
        assert describe(file).engine is EngineName.LLAMA_SERVER


def test_cards_are_read_again_when_a_file_changed(tmp_path):
    cards = Cards()
    file = write_gguf(tmp_path / "a.gguf", values={"llama.context_length": 512})
    assert cards.read(file) is cards.read(file)
    before = fingerprint(file)
    write_gguf(file, values={"llama.context_length": 1024, "general.name": "longer"})
    assert fingerprint(file) != before
    assert cards.read(file).context_length == 1024
    file.write_bytes(b"GGUF")
    with pytest.raises(ModelLoadFailed):
        cards.read(file)
    file.unlink()
    with pytest.raises(ModelLoadFailed):
        cards.read(file)
