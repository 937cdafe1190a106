"""The classifier over a tiny real model: kings are royal, cars are traffic, all else is benign."""

import asyncio

import pytest

from enginehouse.engines.base import Classifies
from enginehouse.engines.onnx import open_classifier
from enginehouse.engines.onnx.classifier import MOST_WINDOWS
from enginehouse.errors import ModelLoadFailed, UpstreamDied
from enginehouse.testing.model_files import LABELS, write_classifier_folder, write_onnx_folder


@pytest.fixture
async def classifier(tmp_path):
    async with open_classifier(write_classifier_folder(tmp_path / "tiny")) as classifier:
        yield classifier


def label_of(answer, index=0):
    row = answer.scores[index]
    return answer.labels[max(range(len(row)), key=row.__getitem__)]


async def test_it_has_the_abilities_of_a_classifier(classifier):
    assert isinstance(classifier, Classifies)
    assert classifier.labels == LABELS
    assert await classifier.healthy()


async def test_scores_are_probabilities_in_the_order_of_the_labels(classifier):
    answer = await classifier.classify(["king", "car road", "whatever"])
    assert [label_of(answer, index) for index in range(3)] == ["royal", "traffic", "benign"]
    assert [sum(row) for row in answer.scores] == pytest.approx([1, 1, 1])
    assert (answer.tokens, answer.truncated, answer.neutral) == (3 + 4 + 3, (), "benign")


async def test_any_labels_may_fit_where_the_folder_says_so(tmp_path):
    config = {"problem_type": "multi_label_classification"}
    async with open_classifier(write_classifier_folder(tmp_path / "any", config=config)) as classifier:
        answer = await classifier.classify(["king car"])
    royal, traffic, _ = answer.scores[0]
    assert royal == traffic == pytest.approx(0.982, abs=0.001)


@pytest.mark.parametrize("place", [0, 13, 14, 40, 99])
async def test_a_long_text_is_read_in_windows_and_one_word_anywhere_counts(classifier, place):
    words = ["x"] * 100
    words[place] = "king"
    answer = await classifier.classify([" ".join(words)])
    assert label_of(answer) == "royal"
    assert answer.truncated == ()


async def test_a_graph_that_insists_on_a_length_gets_it(tmp_path):
    async with open_classifier(write_classifier_folder(tmp_path / "twelve", length=12)) as classifier:
        answer = await classifier.classify(["king", "car road " * 3, "x " * 30 + "king"])
        assert [label_of(answer, index) for index in range(3)] == ["royal", "traffic", "royal"]
        assert (classifier.max_length, answer.truncated) == (12, ())
        assert await classifier.healthy()


async def test_without_a_neutral_label_the_surest_window_counts(tmp_path):
    folder = write_classifier_folder(tmp_path / "tiny", labels=("a", "b", "c"))
    async with open_classifier(folder) as classifier:
        assert label_of(await classifier.classify(["king car " + "x " * 14 + "road road"])) == "b"


async def test_of_a_huge_text_beginning_and_end_are_read_and_the_rest_is_told(classifier):
    middle, end = "x " * 500 + "king " + "x " * 5000, "x " * 5000 + "king"
    answer = await classifier.classify([middle, end, "king"])
    assert answer.truncated == (0, 1)
    assert [label_of(answer, index) for index in range(3)] == ["benign", "royal", "royal"]


async def test_what_is_read_of_a_huge_text_is_bounded(classifier):
    answer = await classifier.classify(["car " * 250_000])
    assert answer.tokens <= MOST_WINDOWS * classifier.max_length


@pytest.mark.parametrize(
    "text",
    ["", " ", "\x00\x01\x1b[31m", "\ud800 lone", "\ud83d\ude00 pair", "مرحبا \u202eking", "k\u0301ing", "🏰" * 50],
)
async def test_every_text_has_an_answer(classifier, text):
    answer = await classifier.classify([text])
    assert sum(answer.scores[0]) == pytest.approx(1)


async def test_callers_at_the_same_time_share_batches(classifier):
    before = classifier._gathering.batches
    answers = await asyncio.gather(*(classifier.classify(["king" if n % 2 else "car"]) for n in range(32)))
    assert [label_of(answer) for answer in answers] == ["traffic", "royal"] * 16
    assert classifier._gathering.batches - before <= 4


async def test_without_batches_every_window_is_a_run_of_its_own(tmp_path):
    async with open_classifier(write_classifier_folder(tmp_path / "tiny"), batch_tokens=1) as classifier:
        answers = await asyncio.gather(*(classifier.classify(["king" if n % 2 else "car"]) for n in range(8)))
        assert [label_of(answer) for answer in answers] == ["traffic", "royal"] * 4
        assert classifier._gathering.batches == 8


async def test_after_its_end_it_says_so(tmp_path):
    async with open_classifier(write_classifier_folder(tmp_path / "tiny")) as classifier:
        pass
    with pytest.raises((UpstreamDied, RuntimeError)):
        await classifier.classify(["king"])


# Bad folders ---------------------------------------------------------------------------------------------------


async def refusal(folder):
    with pytest.raises(ModelLoadFailed) as caught:
        async with open_classifier(folder):
            pass
    return caught.value.message


async def test_labels_that_are_not_as_many_as_the_outputs(tmp_path):
    said = await refusal(write_classifier_folder(tmp_path / "two", labels=("a", "b")))
    assert said == "two answers 3 numbers a text, but config.json names 2 labels."


async def test_an_opset_that_the_runtime_does_not_know(tmp_path):
    said = await refusal(write_classifier_folder(tmp_path / "new", opset=999))
    assert said.startswith("model.onnx could not be loaded: ")
    assert "opset" in said.lower()


async def test_no_tokenizer(tmp_path):
    folder = write_classifier_folder(tmp_path / "mute")
    (folder / "tokenizer.json").unlink()
    assert "mute holds no tokenizer.json" in await refusal(folder)


async def test_a_file_that_is_not_all_there(tmp_path):
    folder = write_classifier_folder(tmp_path / "cut")
    whole = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(whole[: len(whole) // 2])
    assert (await refusal(folder)).startswith("model.onnx could not be loaded: ")


async def test_numbers_may_be_in_a_file_beside_the_graph_but_nowhere_else(tmp_path):
    folder = write_classifier_folder(tmp_path / "beside", weights="model.onnx_data")
    async with open_classifier(folder) as classifier:
        assert label_of(await classifier.classify(["king"])) == "royal"
    stranger = write_classifier_folder(tmp_path / "outside", weights="../secrets")
    said = await refusal(stranger)
    assert said.startswith("model.onnx could not be loaded: ")
    assert '"secrets"' in said
    assert str(tmp_path) not in said


async def test_an_embedder_is_no_classifier(tmp_path):
    assert "has no classification head" in await refusal(write_onnx_folder(tmp_path / "e"))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"problem_type": "regression"}, "only classes are scored"),
        ({"problem_type": "guessing"}, "cannot be read"),
        ({"neutral_label": "calm"}, "none of its labels"),
    ],
)
async def test_a_config_that_cannot_be_followed(tmp_path, config, words):
    assert words in await refusal(write_classifier_folder(tmp_path / "odd", config=config))


async def test_labels_without_names_have_their_numbers(tmp_path):
    async with open_classifier(write_classifier_folder(tmp_path / "plain", labels=())) as classifier:
        assert classifier.labels == ("LABEL_0", "LABEL_1", "LABEL_2")
