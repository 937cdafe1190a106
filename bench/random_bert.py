"""A BERT of a hundred million random numbers: what such a size costs does not depend on what it has learnt."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from enginehouse.testing.model_files import FLOAT, INT64, attribute, model_of, node, tensor, value, write_tokenizer

__all__ = ["write_random_bert"]

VOCABULARY, POSITIONS, WIDTH, LAYERS, HEADS, INNER = 20_000, 512, 768, 12, 12, 3072
"""Those of BERT base, with a smaller vocabulary: 101 million numbers."""
LABELS = ("attack", "benign")


def write_random_bert(path: Path, layers: int = LAYERS) -> int:
    """A folder that the service opens as it opens any classifier: 8-bit weights, the tiny tokenizer of the tests.

    Args:
        path: the folder, made if need be.
        layers: fewer than BERT has make a smaller one.

    Returns:
        How many numbers it has.
    """
    graph = _Graph()
    states = graph.normalised(graph.add(graph.looked_up(), graph.placed()))
    for _ in range(layers):
        states = graph.layer(states)
    graph.nodes += [
        node("Slice", [states, graph.whole([0]), graph.whole([1]), graph.whole([1])], "first"),
        node("Reshape", ["first", graph.whole([-1, WIDTH])], "pooled"),
    ]
    graph.nodes.append(node("Identity", [graph.linear("pooled", WIDTH, len(LABELS))], "logits"))
    takes = [value(name, INT64, ["batch", "sequence"]) for name in ("input_ids", "attention_mask")]
    gives = [value("logits", FLOAT, ["batch", len(LABELS)])]
    path.mkdir(parents=True, exist_ok=True)
    (path / "model.onnx").write_bytes(model_of(graph.nodes, graph.constants, takes, gives))
    write_tokenizer(path / "tokenizer.json", None)
    labels = {str(number): label for number, label in enumerate(LABELS)}
    config = {"id2label": labels, "problem_type": "single_label_classification", "max_position_embeddings": 512}
    (path / "config.json").write_bytes(msgspec.json.encode(config))
    return graph.size


class _Graph:
    """Steps and constants as they come together; every method names the output of its last step."""

    def __init__(self) -> None:
        self.nodes: list[bytes] = []
        self.constants: list[bytes] = []
        self.size = 0
        self._chance = np.random.default_rng(9)
        self._names: Iterator[str] = (f"n{number}" for number in range(1_000_000))
        self._attended = ""

    def constant(self, values: npt.NDArray[Any]) -> str:
        """A table of numbers."""
        name = next(self._names)
        self.constants.append(tensor(name, values))
        self.size += values.size
        return name

    def whole(self, numbers: Sequence[int]) -> str:
        """A few whole numbers."""
        return self.constant(np.array(numbers, dtype=np.int64))

    def step(self, operation: str, *inputs: str, told: Sequence[bytes] = ()) -> str:
        """One operation with one output."""
        name = next(self._names)
        self.nodes.append(node(operation, inputs, name, *told))
        return name

    def add(self, first: str, second: str) -> str:
        """Their sum."""
        return self.step("Add", first, second)

    def looked_up(self) -> str:
        """A vector a token."""
        return self.step("Gather", self._random(VOCABULARY, WIDTH), "input_ids")

    def placed(self) -> str:
        """A vector a place; the mask becomes what attention adds, on the way."""
        seen = self.step("Cast", "attention_mask", told=[attribute("to", FLOAT)])
        unseen = self.step("Sub", self._number(1.0), self.step("Unsqueeze", seen, self.whole([1, 2])))
        self._attended = self.step("Mul", unseen, self._number(-10000.0))
        length = self.step("Gather", self.step("Shape", "input_ids"), self.whole([1]))
        return self.step("Slice", self._random(POSITIONS, WIDTH), self.whole([0]), length)

    def layer(self, states: str) -> str:
        """Attention and what follows it."""
        query, key, content = (self._split(self.linear(states, WIDTH, WIDTH)) for _ in range(3))
        turned = self.step("Transpose", key, told=[attribute("perm", [0, 1, 3, 2])])
        scores = self.step("Div", self.step("MatMul", query, turned), self._number((WIDTH / HEADS) ** 0.5))
        shares = self.step("Softmax", self.add(scores, self._attended))
        mixed = self.step("Transpose", self.step("MatMul", shares, content), told=[attribute("perm", [0, 2, 1, 3])])
        joined = self.step("Reshape", mixed, self.whole([0, 0, WIDTH]))
        states = self.normalised(self.add(states, self.linear(joined, WIDTH, WIDTH)))
        inner = self._bent(self.linear(states, WIDTH, INNER))
        return self.normalised(self.add(states, self.linear(inner, INNER, WIDTH)))

    def linear(self, states: str, width: int, out: int) -> str:
        """Product with 8-bit weights, each column with a scale of its own, as `quantize_dynamic` writes it."""
        given, scale, zero = (next(self._names) for _ in range(3))
        self.nodes.append(node("DynamicQuantizeLinear", [states], [given, scale, zero]))
        weights = self.constant(self._chance.integers(-127, 128, (width, out), dtype=np.int8))
        product = self.step("MatMulInteger", given, weights, zero, self.constant(np.zeros(out, dtype=np.int8)))
        # Were they all the same, the runtime would share them, and no longer see what belongs together.
        columns = self.constant(self._chance.uniform(0.015 / 127, 0.025 / 127, out).astype(np.float32))
        scales = self.step("Mul", scale, columns)
        floats = self.step("Mul", self.step("Cast", product, told=[attribute("to", FLOAT)]), scales)
        return self.add(floats, self.constant(np.zeros(out, dtype=np.float32)))

    def normalised(self, states: str) -> str:
        """Rows of mean 0 and spread 1."""
        ones, zeros = np.ones(WIDTH, dtype=np.float32), np.zeros(WIDTH, dtype=np.float32)
        return self.step("LayerNormalization", states, self.constant(ones), self.constant(zeros))

    def _bent(self, states: str) -> str:
        """Gelu, in the form that runtimes know it by."""
        share = self.step("Erf", self.step("Div", states, self._number(2.0**0.5)))
        both = self.step("Mul", states, self.add(share, self._number(1.0)))
        return self.step("Mul", both, self._number(0.5))

    def _split(self, states: str) -> str:
        heads = self.step("Reshape", states, self.whole([0, 0, HEADS, WIDTH // HEADS]))
        return self.step("Transpose", heads, told=[attribute("perm", [0, 2, 1, 3])])

    def _random(self, rows: int, width: int) -> str:
        return self.constant(self._chance.normal(0, 0.02, (rows, width)).astype(np.float32))

    def _number(self, content: float) -> str:
        return self.constant(np.array(content, dtype=np.float32))
