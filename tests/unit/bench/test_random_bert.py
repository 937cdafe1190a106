"""The large random classifier of the benchmark, with one layer instead of twelve."""

from bench.random_bert import write_random_bert
from enginehouse.engines.onnx import open_classifier


async def test_it_is_a_classifier_of_its_size(tmp_path):
    assert write_random_bert(tmp_path / "random", layers=1) > 20_000_000
    async with open_classifier(tmp_path / "random") as classifier:
        answer = await classifier.classify(["king", "king car " * 60])
    assert (answer.tokens, answer.truncated) == (3 + 122, ())
    assert [round(sum(row), 4) for row in answer.scores] == [1, 1]
