"""Model files of a few kilobytes that are real: for tests that want a model and not its weight."""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import numpy.typing as npt
import tokenizers
from gguf.gguf_writer import GGUFWriter

__all__ = [
    "LABELS",
    "WORDS",
    "write_classifier_folder",
    "write_gguf",
    "write_onnx_folder",
    "write_reranker_folder",
]

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "king", "queen", "car", "road")
"""The tiny vocabulary; a word's place is its token id."""

LABELS = ("royal", "traffic", "benign")
"""Classes of the tiny classifier."""

INT64, FLOAT = 7, 1
"""ONNX's numbers for types."""
KINDS = {"float32": FLOAT, "uint8": 2, "int8": 3, "int32": 6, "int64": INT64}


def write_gguf(
    path: Path,
    *,
    architecture: str = "llama",
    values: Mapping[str, str | int | Sequence[str]] | None = None,
    tokens: int = 100,
    weights: int = 64,
) -> Path:
    """A GGUF file with one tensor and a vocabulary.

    Args:
        path: where it goes.
        architecture: the model's family.
        values: further keys, each spelt whole (`llama.context_length`).
        tokens: length of the vocabulary.
        weights: numbers in its tensor.
    """
    writer = GGUFWriter(path, architecture)
    for key, value in (values or {}).items():
        if isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        else:
            writer.add_array(key, value)
    writer.add_token_list([f"token{number}" for number in range(tokens)])
    writer.add_tensor("token_embd.weight", np.ones((weights,), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_onnx_folder(
    path: Path,
    *,
    positions: int = 64,
    output: str = "last_hidden_state",
    inputs: Sequence[str] = ("input_ids", "attention_mask", "token_type_ids"),
    padded: int | None = None,
    config: Mapping[str, Mapping[str, Any]] | None = None,
) -> Path:
    """A sentence embedder: each word of `WORDS` is a unit vector of its own, and a text is their mean.

    Args:
        path: the folder, made if need be.
        positions: tokens it can read; more make the runtime fail.
        output: name of the output.
        inputs: names of the inputs; the first is what is looked up.
        padded: if given, `tokenizer.json` pads and cuts every text to this many tokens.
        config: contents of further JSON files by name (`1_Pooling/config.json`).
    """
    path.mkdir(parents=True, exist_ok=True)
    (path / "model.onnx").write_bytes(onnx_model(positions, inputs, output))
    write_tokenizer(path / "tokenizer.json", padded)
    for name, content in (config or {}).items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_bytes(msgspec.json.encode(content))
    return path


def write_reranker_folder(path: Path, *, positions: int = 64, labels: int = 1) -> Path:
    """A cross-encoder of a kind: its score is how many of the document's tokens are `king`.

    Args:
        path: the folder, made if need be.
        positions: tokens it says it can read.
        labels: how many labels its head says it has.
    """
    path.mkdir(parents=True, exist_ok=True)
    (path / "model.onnx").write_bytes(onnx_scorer())
    write_tokenizer(path / "tokenizer.json", None)
    config = {
        "architectures": ["BertForSequenceClassification"],
        "max_position_embeddings": positions,
        "id2label": {str(number): f"LABEL_{number}" for number in range(labels)},
    }
    (path / "config.json").write_bytes(msgspec.json.encode(config))
    return path


def write_classifier_folder(
    path: Path,
    *,
    labels: Sequence[str] = LABELS,
    opset: int = 17,
    length: int | None = None,
    weights: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """A classifier: kings and queens are royal, cars and roads are traffic, and what is neither is benign.

    Args:
        path: the folder, made if need be.
        labels: what `config.json` says of them; the graph always has three outputs.
        opset: version of the operators that the graph says it wants.
        length: tokens that every row has to have; any number will do when left out.
        weights: a file beside the graph that holds its numbers, as large models have it; written here as well.
        config: further keys of `config.json`.
    """
    path.mkdir(parents=True, exist_ok=True)
    (path / "model.onnx").write_bytes(classifier_model(opset, length, weights))
    if weights is not None:
        (path / weights).write_bytes(classifier_weights().tobytes())
    write_tokenizer(path / "tokenizer.json", None)
    named = {str(number): label for number, label in enumerate(labels)}
    (path / "config.json").write_bytes(msgspec.json.encode({"id2label": named, **(config or {})}))
    (path / "tokenizer_config.json").write_bytes(msgspec.json.encode({"model_max_length": 16}))
    return path


def write_tokenizer(file: Path, padded: int | None) -> None:
    """A tokenizer of whole words with BERT's special tokens."""
    tools = cast("Any", tokenizers)  # its submodules come without types
    ids = {word: place for place, word in enumerate(WORDS)}
    tokenizer = tools.Tokenizer(tools.models.WordLevel(ids, unk_token=WORDS[1]))
    tokenizer.add_special_tokens(list(WORDS[:4]))
    tokenizer.pre_tokenizer = tools.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tools.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    if padded is not None:
        tokenizer.enable_padding(length=padded)
        tokenizer.enable_truncation(padded)
    tokenizer.save(str(file))


# An ONNX model by hand: the format's own package is large and wanted nowhere else --------------------------


def onnx_model(positions: int, inputs: Sequence[str], output: str) -> bytes:
    """A graph that looks every token up in a table and adds a table of (empty) positions."""
    size = len(WORDS)
    nodes = [
        node("Gather", ["words", inputs[0]], "tokens"),
        node("Shape", [inputs[0]], "shape"),
        node("Gather", ["shape", "one"], "length"),
        node("Range", ["zero", "length", "one"], "places"),
        node("Gather", ["positions", "places"], "placed"),
        node("Add", ["tokens", "placed"], output),
    ]
    constants = [
        tensor("words", np.eye(size, dtype=np.float32)),
        tensor("positions", np.zeros((positions, size), dtype=np.float32)),
        tensor("zero", np.array(0, dtype=np.int64)),
        tensor("one", np.array(1, dtype=np.int64)),
    ]
    takes = [value(name, INT64, ["batch", "sequence"]) for name in inputs]
    gives = [value(output, FLOAT, ["batch", "sequence", size])]
    return model_of(nodes, constants, takes, gives)


def classifier_weights() -> npt.NDArray[np.float32]:
    """What every word says for each label."""
    says = np.zeros((len(WORDS), len(LABELS)), dtype=np.float32)
    says[WORDS.index("[CLS]")] = (0, 0, 2)
    says[WORDS.index("king")] = says[WORDS.index("queen")] = (4, 0, 0)
    says[WORDS.index("car")] = says[WORDS.index("road")] = (0, 4, 0)
    return says


def classifier_model(opset: int, length: int | None = None, weights: str | None = None) -> bytes:
    """A graph that adds up what every token says for each label."""
    says = classifier_weights()
    nodes = [
        node("Gather", ["says", "input_ids"], "said"),
        node("ReduceSum", ["said", "tokens"], "summed"),
        node("Squeeze", ["summed", "tokens"], "logits"),
    ]
    constants = [tensor("says", says, weights), tensor("tokens", np.array([1], dtype=np.int64))]
    takes = [value(name, INT64, ["batch", length or "sequence"]) for name in ("input_ids", "attention_mask")]
    gives = [value("logits", FLOAT, ["batch", len(LABELS)])]
    return model_of(nodes, constants, takes, gives, opset=opset)


def model_of(
    nodes: Sequence[bytes],
    constants: Sequence[bytes],
    takes: Sequence[bytes],
    gives: Sequence[bytes],
    *,
    opset: int = 17,
) -> bytes:
    """A whole file."""
    graph = b"".join(
        [
            *(field(1, given) for given in nodes),
            field(2, b"tiny"),
            *(field(5, given) for given in constants),
            *(field(11, given) for given in takes),
            *(field(12, given) for given in gives),
        ]
    )
    return number(1, 8) + field(8, number(2, opset)) + field(7, graph)


def onnx_scorer() -> bytes:
    """A graph that looks every token up, counts what lies in the second text, and adds that up."""
    of_words = np.zeros(len(WORDS), dtype=np.float32)
    of_words[WORDS.index("king")] = 1
    nodes = [
        node("Gather", ["words", "input_ids"], "tokens"),
        node("Cast", ["token_type_ids"], "types", attribute("to", FLOAT)),
        node("Mul", ["tokens", "types"], "counted"),
        node("ReduceSum", ["counted", "sequence"], "logits"),
    ]
    constants = [tensor("words", of_words), tensor("sequence", np.array([1], dtype=np.int64))]
    takes = [value(name, INT64, ["batch", "length"]) for name in ("input_ids", "attention_mask", "token_type_ids")]
    return model_of(nodes, constants, takes, [value("logits", FLOAT, ["batch", 1])])


def node(operation: str, inputs: Sequence[str], output: str | Sequence[str], *attributes: bytes) -> bytes:
    """One step of the graph."""
    takes = b"".join(field(1, name.encode()) for name in inputs)
    outputs = [output] if isinstance(output, str) else output
    gives = b"".join(field(2, name.encode()) for name in outputs)
    said = b"".join(field(5, given) for given in attributes)
    return takes + gives + field(4, operation.encode()) + said


def attribute(name: str, content: int | Sequence[int]) -> bytes:
    """A whole number that a step is told, or several."""
    if isinstance(content, int):
        return field(1, name.encode()) + number(3, content) + number(20, 2)
    return field(1, name.encode()) + b"".join(number(8, one) for one in content) + number(20, 7)


def tensor(name: str, values: npt.NDArray[Any], place: str | None = None) -> bytes:
    """A constant; its numbers are in the graph, or in a file of that name."""
    kind = KINDS[values.dtype.name]
    sizes = b"".join(number(1, size) for size in values.shape)
    head = sizes + number(2, kind) + field(8, name.encode())
    if place is None:
        return head + field(9, values.tobytes())
    return head + field(13, field(1, b"location") + field(2, place.encode())) + number(14, 1)


def value(name: str, kind: int, shape: Sequence[str | int]) -> bytes:
    """An input or output; a size that is a name is free."""
    sizes = (number(1, size) if isinstance(size, int) else field(2, size.encode()) for size in shape)
    dimensions = b"".join(field(1, size) for size in sizes)
    return field(1, name.encode()) + field(2, field(1, number(1, kind) + field(2, dimensions)))


def field(place: int, content: bytes) -> bytes:
    """A protobuf field of bytes."""
    return varint(place << 3 | 2) + varint(len(content)) + content


def number(place: int, content: int) -> bytes:
    """A protobuf field of a whole number."""
    return varint(place << 3) + varint(content)


def varint(content: int) -> bytes:
    """A whole number in as few bytes as it needs."""
    if content < 0x80:
        return struct.pack("B", content)
    return struct.pack("B", content & 0x7F | 0x80) + varint(content >> 7)
