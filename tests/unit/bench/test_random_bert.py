"""The large random classifier of the benchmark, with one layer instead of twelve."""

from bench.random_bert import write_random_bert
from enginehouse.engines.onnx import open_classifier


async def test_it_is_a_classifier_whose_padding_is_not_seen(tmp_path):
    assert write_random_bert(tmp_path / "random", layers=1) > 20_000_000
    async with open_classifier(tmp_path / "random") as classifier:
        alone, long = [(await classifier.classify([text])).scores[0] for text in ("king", "king " * 9)]
        together = await classifier.classify(["king", "king " * 9])
    for one, other in zip((alone, long), together.scores, strict=True):
        assert max(abs(a - b) for a, b in zip(one, other, strict=True)) < 0.02
    assert alone != long
