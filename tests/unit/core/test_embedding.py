"""Texts become vectors through the gateway, and count as their caller's usage."""

import pytest

from enginehouse.core.embedding import Embedder
from enginehouse.core.vectors.batch import Asker
from enginehouse.errors import InvalidRequest, ModelNotFound
from enginehouse.testing import FakeBooks, FakeEmbedder, FakeEngine, FakeLauncher
from enginehouse.types import EngineName, Principal
from tests.unit.core.way import open_gateway

ASKER = Asker(principal=Principal(user="ann"), request_id="r")
MODELS = {
    "here": {"source": "/x", "engine": "onnx", "kind": "embedding"},
    "talks": {"source": "/y.gguf", "engine": "llama_server", "kind": "chat"},
}


async def embed(name, texts, books=None):
    launchers = {
        EngineName.ONNX: FakeLauncher(FakeEmbedder(), load_seconds=0),
        EngineName.LLAMA_SERVER: FakeLauncher(FakeEngine(()), load_seconds=0),
    }
    async with open_gateway(MODELS, launchers, books=books) as gateway:
        return await Embedder(gateway, "vectors")(name, texts, ASKER)


async def test_texts_are_embedded_in_turns_and_in_order():
    books = FakeBooks()
    texts = ["x" * (number % 40 + 1) for number in range(300)]
    embedded = await embed("here", texts, books)
    lengths = [round(vector[0] / vector[1]) for vector in embedded.vectors]
    assert lengths == [len(text) for text in texts]
    assert embedded.tokens == sum(lengths)
    records = books.kept.values()
    assert len(records) == 3
    assert sum(record.input_tokens for record in records) == embedded.tokens
    assert {(record.user_id, record.face) for record in records} == {("ann", "vectors")}


async def test_only_models_that_embed():
    with pytest.raises(InvalidRequest):
        await embed("talks", ["a"])
    with pytest.raises(ModelNotFound):
        await embed("nobody", ["a"])
