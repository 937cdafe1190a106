"""The embedder over a tiny real model: every word of its vocabulary is a direction of its own."""

import asyncio
import threading

import numpy as np
import pytest

from enginehouse.engines.base import Embeds, Tokenizes
from enginehouse.engines.onnx import open_embedder
from enginehouse.engines.onnx.embedder import OnnxEmbedder
from enginehouse.engines.onnx.vocabulary import Vocabulary, read_tokenizer
from enginehouse.errors import InvalidRequest, ModelLoadFailed, UpstreamRefused
from enginehouse.testing.model_files import WORDS, write_onnx_folder

CLS, SEP, KING, QUEEN, CAR = (WORDS.index(word) for word in ("[CLS]", "[SEP]", "king", "queen", "car"))


@pytest.fixture
async def embedder(tmp_path):
    async with open_embedder(write_onnx_folder(tmp_path / "tiny", padded=16)) as embedder:
        yield embedder


def mean(*ids):
    vector = np.zeros(len(WORDS))
    for id_ in ids:
        vector[id_] += 1
    return vector / np.linalg.norm(vector)


async def test_it_has_the_abilities_of_an_embedder(embedder):
    assert isinstance(embedder, Embeds)
    assert isinstance(embedder, Tokenizes)
    assert await embedder.healthy()


async def test_a_text_is_the_mean_of_its_tokens_with_length_one(embedder):
    answer = await embedder.embed(["king car"])
    assert answer.vectors[0] == pytest.approx(mean(CLS, KING, CAR, SEP))
    assert (answer.tokens, answer.truncated) == (4, ())


async def test_padding_of_a_batch_changes_nothing_and_order_is_kept(embedder):
    texts = ["king", "car " * 9, "queen car king", "", "road queen"] * 30
    together = await embedder.embed(texts)
    alone = [(await embedder.embed([text])).vectors[0] for text in texts[:5]] * 30
    assert np.array(together.vectors) == pytest.approx(np.array(alone), abs=1e-6)


async def test_what_is_cut_is_told_and_not_counted(embedder):
    fits, too_long = " ".join(["car"] * 14), " ".join(["car"] * 15)
    answer = await embedder.embed([too_long, fits, too_long])
    assert answer.truncated == (0, 2)
    assert answer.tokens == 3 * 16
    assert answer.vectors[0] == pytest.approx(answer.vectors[1])


async def test_ids_stand_for_their_text(embedder):
    ids = await embedder.tokenize("king queen")
    assert ids == [KING, QUEEN]
    by_ids, by_text = await embedder.embed([ids]), await embedder.embed(["king queen"])
    assert by_ids == by_text


async def test_tokenize_does_not_cut(embedder):
    assert len(await embedder.tokenize("car " * 1000)) == 1000


@pytest.mark.parametrize("wrong", [len(WORDS), -1, 2**32, 2**70])
async def test_an_unknown_id_is_the_callers_mistake(embedder, wrong):
    with pytest.raises(InvalidRequest, match=rf"input\[1\] holds the token id {wrong}") as caught:
        await embedder.embed([[KING], [wrong]])
    assert caught.value.param == "input"


async def test_text_that_is_no_unicode_is_the_callers_mistake(embedder):
    with pytest.raises(InvalidRequest, match="not valid Unicode"):
        await embedder.embed(["king", "\ud800"])


async def test_no_texts_give_no_vectors(embedder):
    answer = await embedder.embed([])
    assert (answer.vectors, answer.tokens) == ([], 0)


async def test_many_callers_get_their_own_answers(embedder):
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(embedder.embed([word])) for word in WORDS[4:] * 10]
    for word, task in zip(WORDS[4:] * 10, tasks, strict=True):
        assert task.result().vectors[0] == pytest.approx(mean(CLS, WORDS.index(word), SEP))


async def test_a_length_of_ones_own_is_used_and_tried(tmp_path):
    folder = write_onnx_folder(tmp_path / "tiny", padded=16, positions=32)
    async with open_embedder(folder, max_length=32) as embedder:
        assert embedder.max_length == 32
        assert (await embedder.embed(["car " * 40])).tokens == 32
    with pytest.raises(ModelLoadFailed, match="33 tokens was refused"):
        async with open_embedder(folder, max_length=33):
            pass
    with pytest.raises(ModelLoadFailed, match="no room"):
        async with open_embedder(folder, max_length=2):
            pass


async def test_a_closed_embedder_is_not_healthy(tmp_path):
    async with open_embedder(write_onnx_folder(tmp_path / "tiny")) as embedder:
        pass
    assert not await embedder.healthy()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda path: (path / "model.onnx").write_bytes(b"no model"),
            r"model\.onnx could not be loaded",
        ),
        (
            lambda path: (path / "tokenizer.json").write_text('{"version": "1.0"}'),
            r"tokenizer\.json is not a tokenizer",
        ),
        (
            lambda path: write_onnx_folder(path, inputs=("input_ids", "pixel_values")),
            "it wants input_ids, pixel_val",
        ),
        (lambda path: write_onnx_folder(path, inputs=("pixels",)), "no model of texts: it wants pixels"),
        (
            lambda path: write_onnx_folder(path, config={"modules.json": [{"type": "x.Dense"}]}),
            "ends before the layers Dense",
        ),
    ],
)
async def test_a_folder_that_cannot_be_used_says_why(tmp_path, spoil, words):
    path = write_onnx_folder(tmp_path / "tiny")
    spoil(path)
    with pytest.raises(ModelLoadFailed, match=words) as caught:
        async with open_embedder(path):
            pass
    assert str(tmp_path) not in caught.value.message


class Held:
    """A network that waits until it is let go, and counts."""

    def __init__(self):
        self.started, self.go, self.runs = threading.Event(), threading.Event(), 0

    def __call__(self, ids, mask):
        self.runs += 1
        self.started.set()
        assert self.go.wait(10)
        return np.ones((len(ids), 2), dtype=np.float32)


def held(tmp_path, workers=1):
    folder = write_onnx_folder(tmp_path / "tiny")
    vocabulary = Vocabulary(read_tokenizer(folder / "tokenizer.json"), max_length=512, pad_id=0)
    network = Held()
    return OnnxEmbedder(vocabulary, network, workers=workers), network


async def test_the_loop_runs_on_and_a_caller_who_leaves_stops_at_the_next_batch(tmp_path):
    embedder, network = held(tmp_path)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(embedder.embed(["car " * 300, "car " * 500, "car " * 400]))
        await asyncio.to_thread(network.started.wait)
        task.cancel()
    network.go.set()
    await embedder.close()
    assert network.runs == 1


async def test_a_small_request_is_served_between_the_batches_of_a_large_one(tmp_path):
    embedder, network = held(tmp_path)
    done = []

    async def ask(name, texts):
        await embedder.embed(texts)
        done.append(name)

    async with asyncio.TaskGroup() as group:
        group.create_task(ask("large", ["car " * 500] * 5))
        await asyncio.to_thread(network.started.wait)
        group.create_task(ask("small", ["car"]))
        await asyncio.sleep(0)
        network.go.set()
    await embedder.close()
    assert done == ["small", "large"]


async def test_a_failure_of_the_runtime_is_an_error_of_the_engine(tmp_path):
    folder = write_onnx_folder(tmp_path / "tiny", positions=4)
    async with open_embedder(folder) as embedder:
        with pytest.raises(UpstreamRefused, match=r"model\.onnx failed"):
            await embedder.embed(["car " * 10])
        assert await embedder.healthy()
