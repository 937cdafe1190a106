"""Texts become vectors through the gateway, whichever kind of engine has the model."""

import json

import pytest

from enginehouse.core.admission import Admission
from enginehouse.core.catalogue import Catalogue
from enginehouse.core.copies import Copies
from enginehouse.core.embedding import Embedder
from enginehouse.core.gateway import Gateway
from enginehouse.core.vectors.batch import Asker
from enginehouse.errors import InvalidRequest, ModelNotFound, UpstreamRefused
from enginehouse.residency.manager import Residency
from enginehouse.settings.schema import AdmissionSettings, ResidencySettings
from enginehouse.testing import FakeEmbedder, FakeEngine, FakeLauncher
from enginehouse.types import EngineName, Kind, Principal
from tests.unit.api.house import RAM, model

ASKER = Asker(principal=Principal(user="ann"), request_id="r")


async def embed(name, texts, engine=None):
    launchers = {
        EngineName.ONNX: FakeLauncher(FakeEmbedder(), load_seconds=0),
        EngineName.OPENAI: FakeLauncher(engine or FakeEngine(()), load_seconds=0),
    }
    catalogue = Catalogue(
        [model("here", Kind.EMBEDDING, EngineName.ONNX), model("far", Kind.EMBEDDING, EngineName.OPENAI),
         model("talks", Kind.CHAT, EngineName.OPENAI)]
    )  # fmt: skip
    limits = ResidencySettings(vram_multiplier=1)
    async with Residency(launchers, limits, ram=RAM) as residency:
        gates = Admission(AdmissionSettings())
        gateway = Gateway(catalogue, gates, residency, Copies(gates, residency, limits))
        return await Embedder(gateway)(name, texts, ASKER)


async def test_an_engine_that_embeds_is_asked_in_parts_and_in_order():
    texts = ["x" * (number % 40 + 1) for number in range(300)]
    embedded = await embed("here", texts)
    lengths = [round(vector[0] / vector[1]) for vector in embedded.vectors]
    assert lengths == [len(text) for text in texts]
    assert embedded.tokens == sum(lengths)


async def test_an_engine_that_speaks_openai_is_asked_in_its_words():
    data = [{"index": 1, "embedding": [3, 4]}, {"index": 0, "embedding": [1, 2]}]
    engine = FakeEngine([json.dumps({"data": data, "usage": {"prompt_tokens": 5}}).encode()])
    embedded = await embed("far", ["a", "b"], engine)
    assert (list(embedded.vectors), embedded.tokens) == ([[1, 2], [3, 4]], 5)


@pytest.mark.parametrize("answer", [b"{}", b"nothing", b'{"data": [{"index": 0, "embedding": [1]}]}'])
async def test_an_answer_in_another_shape_is_refused(answer):
    with pytest.raises(UpstreamRefused):
        await embed("far", ["a", "b"], FakeEngine([answer]))


async def test_only_models_that_embed():
    with pytest.raises(InvalidRequest):
        await embed("talks", ["a"])
    with pytest.raises(ModelNotFound):
        await embed("nobody", ["a"])
