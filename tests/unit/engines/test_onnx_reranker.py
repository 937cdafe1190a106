"""Cross-encoders: pairs as the model reads them, scores, and folders that are none."""

import math

import pytest

from enginehouse.engines.metadata import describe
from enginehouse.engines.onnx import open_reranker
from enginehouse.engines.onnx.vocabulary import Vocabulary, read_tokenizer
from enginehouse.errors import InvalidRequest, ModelLoadFailed
from enginehouse.testing.model_files import write_onnx_folder, write_reranker_folder
from enginehouse.types import Kind

CLS, SEP, KING, CAR = 2, 3, 4, 6


@pytest.fixture
def folder(tmp_path):
    return write_reranker_folder(tmp_path / "tiny")


@pytest.fixture
async def reranker(folder):
    async with open_reranker(folder) as opened:
        yield opened


def logistic(number):
    return 1 / (1 + math.exp(-number))


async def test_scores_come_in_the_callers_order_and_the_query_counts_for_nothing_by_itself(reranker):
    ranking = await reranker.rerank("king king", ["car", "king car king", "king", ""])
    expected = [logistic(number) for number in (0, 2, 1, 0)]
    assert list(ranking.scores) == pytest.approx(expected, abs=1e-6)
    assert (ranking.tokens, ranking.truncated) == (4 * 5 + 1 + 3 + 1, ())


async def test_batches_do_not_change_scores(reranker):
    documents = ["king " * count + "car " * (40 - 2 * count) for count in range(20)] * 3
    together = (await reranker.rerank("car", documents)).scores
    alone = [(await reranker.rerank("car", [document])).scores[0] for document in documents[:20]]
    assert list(together) == pytest.approx(alone * 3, abs=1e-6)


async def test_what_is_longer_than_the_model_reads_is_cut_and_told(folder):
    async with open_reranker(folder, max_length=11) as reranker:
        ranking = await reranker.rerank("car car", ["king " * 6, "king " * 7, "car"])
    assert list(ranking.scores) == pytest.approx([logistic(6), logistic(6), logistic(0)], abs=1e-6)
    assert ranking.truncated == (1,)


@pytest.mark.parametrize(
    ("query", "document", "kept"),
    [(2, 2, (2, 2)), (9, 2, (6, 2)), (2, 9, (2, 6)), (9, 9, (4, 4)), (3, 6, (3, 5)), (0, 9, (0, 8))],
)
def test_the_longer_of_the_two_is_cut_and_neither_below_half(folder, query, document, kept):
    vocabulary = Vocabulary(read_tokenizer(folder / "tokenizer.json"), max_length=11, pad_id=0)
    [pair] = vocabulary.pairs("king " * query, ["car " * document])
    first, second = kept
    assert pair.ids == [CLS, *[KING] * first, SEP, *[CAR] * second, SEP]
    assert pair.types == [0] * (first + 2) + [1] * (second + 1)
    assert pair.truncated == (first + second < query + document)


async def test_a_limit_without_room_for_two_texts_is_refused(folder):
    vocabulary = Vocabulary(read_tokenizer(folder / "tokenizer.json"), max_length=4, pad_id=0)
    with pytest.raises(InvalidRequest, match="too few tokens"):
        vocabulary.pairs("king", ["car"])


async def test_it_is_well_and_after_its_end_it_is_not(folder):
    async with open_reranker(folder) as reranker:
        assert await reranker.healthy()
    assert not await reranker.healthy()


def test_the_card_says_what_the_folder_is_for(folder):
    assert describe(folder).kind is Kind.RERANK


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: write_reranker_folder(path, labels=2), "ranks nothing"),
        (write_onnx_folder, "ranks nothing"),
    ],
)
async def test_a_folder_that_ranks_nothing_says_so(tmp_path, make, words):
    with pytest.raises(ModelLoadFailed, match=words):
        async with open_reranker(make(tmp_path / "other")):
            pass


async def test_a_folder_without_the_head_it_speaks_of_says_so(tmp_path, folder):
    embedder = write_onnx_folder(tmp_path / "embedder")
    (folder / "model.onnx").write_bytes((embedder / "model.onnx").read_bytes())
    with pytest.raises(ModelLoadFailed, match="no classification head"):
        async with open_reranker(folder):
            pass
