"""What an ONNX folder says of itself."""

import pytest

from enginehouse.engines.onnx.folder import Pooling, read_folder
from enginehouse.errors import ModelLoadFailed
from enginehouse.testing.model_files import write_onnx_folder
from enginehouse.types import Kind

BERT = {"model_type": "bert", "architectures": ["BertModel"], "hidden_size": 8, "max_position_embeddings": 512}


def folder(path, padded=None, **files):
    names = {name.replace("__", "/") + ".json": content for name, content in files.items()}
    return read_folder(write_onnx_folder(path / "model", padded=padded, config=names))


def test_without_any_word_it_is_a_mean_pooling_embedder(tmp_path):
    found = folder(tmp_path)
    assert (found.kind, found.pooling, found.max_length) == (Kind.EMBEDDING, (Pooling.MEAN,), 512)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 128),
        ({"config": BERT}, 128),
        ({"tokenizer_config": {"model_max_length": 300}}, 300),
        ({"tokenizer_config": {"model_max_length": 10**30}}, 128),
        ({"tokenizer_config": {"model_max_length": 1024}, "config": BERT}, 512),
        ({"tokenizer_config": {"model_max_length": 512}, "sentence_bert_config": {"max_seq_length": 256}}, 256),
        ({"config": {"model_type": "roberta", "max_position_embeddings": 130, "pad_token_id": 3}}, 126),
        ({"config": {"model_type": "roberta", "max_position_embeddings": 100}}, 98),
    ],
)
def test_the_limit_is_what_the_publisher_states_within_the_positions(tmp_path, files, expected):
    assert folder(tmp_path, padded=128, **files).max_length == expected


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (BERT, Kind.EMBEDDING),
        ({"architectures": ["BertForSequenceClassification"]}, Kind.CLASSIFIER),
        ({"architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0"}}, Kind.RERANK),
        ({"id2label": {"0": "spam", "1": "ham"}}, Kind.CLASSIFIER),
        ({"architectures": ["BertModel"], "id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, Kind.EMBEDDING),
    ],
)
def test_the_head_makes_the_kind(tmp_path, config, kind):
    assert folder(tmp_path, config=config).kind is kind


def test_labels_come_in_the_order_of_their_numbers(tmp_path):
    labels = {str(number): f"label {number}" for number in (10, 2, 0, 1)}
    assert folder(tmp_path, config={"id2label": labels}).labels == ("label 0", "label 1", "label 2", "label 10")


@pytest.mark.parametrize(
    ("pooling", "modes"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, (Pooling.CLS,)),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, (Pooling.MAX, Pooling.MEAN)),
        ({"pooling_mode": "lasttoken"}, (Pooling.LAST,)),
        ({}, (Pooling.MEAN,)),
    ],
)
def test_pooling_is_read(tmp_path, pooling, modes):
    assert folder(tmp_path, **{"1_Pooling__config": pooling}).pooling == modes


def test_modules_say_where_pooling_is_and_what_comes_after(tmp_path):
    modules = [
        {"type": "sentence_transformers.models.Transformer", "path": ""},
        {"type": "sentence_transformers.models.Pooling", "path": "pool"},
        {"type": "sentence_transformers.models.Dense", "path": "2_Dense"},
    ]
    found = folder(tmp_path, modules=modules, pool__config={"pooling_mode_cls_token": True})
    assert (found.pooling, found.extra_modules) == ((Pooling.CLS,), ("Dense",))


def test_a_padding_token_may_be_a_record(tmp_path):
    assert folder(tmp_path, tokenizer_config={"pad_token": {"content": "<pad>"}}).pad_token == "<pad>"


def test_the_model_may_lie_in_onnx_or_have_a_name_of_its_own(tmp_path):
    path = write_onnx_folder(tmp_path / "model")
    (path / "onnx").mkdir()
    (path / "model.onnx").rename(path / "onnx" / "model_quantized.onnx")
    assert read_folder(path).model == path / "onnx" / "model_quantized.onnx"
    (path / "onnx" / "model_quantized.onnx").rename(path / "bge.onnx")
    assert read_folder(path).model == path / "bge.onnx"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["tokenizer.json"], r"no model\.onnx"),
        (["model.onnx"], r"no tokenizer\.json"),
        (["a.onnx", "b.onnx", "tokenizer.json"], r"several models \(a\.onnx, b\.onnx\)"),
    ],
)
def test_missing_and_doubtful_files_are_named(tmp_path, names, words):
    for name in names:
        (tmp_path / name).write_text("{}")
    with pytest.raises(ModelLoadFailed, match=words):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", '{"hidden_size": "big"}'),
        ("tokenizer_config.json", "{"),
        ("modules.json", "{}"),
        ("1_Pooling/config.json", '{"pooling_mode": "clever"}'),
        ("tokenizer_config.json", '{"pad_token": {"content": 3}}'),
    ],
)
def test_a_file_that_is_not_understood_is_named(tmp_path, name, text):
    path = write_onnx_folder(tmp_path / "model")
    (path / name).parent.mkdir(exist_ok=True)
    (path / name).write_text(text)
    with pytest.raises(ModelLoadFailed, match=name.rpartition("/")[2]):
        read_folder(path)
