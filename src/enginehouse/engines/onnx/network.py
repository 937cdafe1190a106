"""The one place that touches onnxruntime: a loaded graph that turns token ids into vectors or scores."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
import onnxruntime

from enginehouse.engines.onnx.folder import Pooling
from enginehouse.engines.onnx.pooling import Floats, Ints, normalise, pool
from enginehouse.errors import ModelLoadFailed, UpstreamRefused

__all__ = ["Head", "Network", "OpenHead", "open_head", "open_network"]

Network: TypeAlias = Callable[[Ints, Ints], Floats]
"""Ids and mask, both `[text, token]`, to unit vectors `[text, size]`. May be called from several threads.

Raises:
    UpstreamRefused: the runtime could not run the graph.
"""

Head: TypeAlias = Callable[[Ints, Ints, Ints], Floats]
"""Ids, mask and types, all `[text, token]`, to raw scores `[text, label]`. May be called from several threads.

Raises:
    UpstreamRefused: the runtime could not run the graph.
"""


class OpenHead(NamedTuple):
    """A head in memory, and the tokens that every row has to have, where the graph insists on a number of them."""

    score: Head
    length: int | None


PATH = re.compile(r"(?<![\w.])(?:/[^/\s\"']+)*/([^/\s\"']+)")
FATAL = 4
"""The runtime's quietest log level: what goes wrong comes back as an exception, not on stderr as well."""

IDS, MASK, TYPES = "input_ids", "attention_mask", "token_type_ids"
INTEGERS: dict[str, Any] = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
TOKEN_VECTORS, TEXT_VECTORS = 3, 2
"""Ranks of an output."""

SLOW = ("SkipLayerNormFusion",)
"""What the runtime does to make a graph faster and makes it slower: its one step that adds and normalises takes
longer than the two apart (onnxruntime 1.31, the guard, 128 tokens: 8.9 ms with it, 8.1 ms without)."""


def open_network(file: Path, *, threads: int, pooling: Sequence[Pooling], extra_modules: Sequence[str]) -> Network:
    """Load a graph. Blocks for as long as the weights take.

    Raises:
        ModelLoadFailed: the file is no ONNX model, or not one that embeds.
    """
    session = open_session(file, threads)
    kinds = input_types(session, file)
    output, rank = pick_output(session, file)
    if extra_modules and rank == TOKEN_VECTORS:
        raise ModelLoadFailed(
            f"{file.name} ends before the layers {', '.join(extra_modules)}; "
            "export the model with its sentence_embedding output."
        )

    def network(ids: Ints, mask: Ints) -> Floats:
        values = {IDS: ids, MASK: mask, TYPES: np.zeros_like(ids)}
        feeds = {name: values[name].astype(kind, copy=False) for name, kind in kinds.items()}
        states = run(session, output, feeds, file)
        return normalise(states if rank == TEXT_VECTORS else pool(states, mask, pooling))

    return network


def open_head(file: Path, *, threads: int) -> OpenHead:
    """Load a graph with a classification head. Blocks for as long as the weights take.

    Raises:
        ModelLoadFailed: the file is no ONNX model, or has no such head.
    """
    session = open_session(file, threads, without=SLOW)
    kinds = input_types(session, file)
    output = pick_scores(session, file)

    def head(ids: Ints, mask: Ints, types: Ints) -> Floats:
        values = {IDS: ids, MASK: mask, TYPES: types}
        feeds = {name: values[name].astype(kind, copy=False) for name, kind in kinds.items()}
        return run(session, output, feeds, file)

    return OpenHead(head, fixed_length(session))


def open_session(file: Path, threads: int, without: Sequence[str] = ()) -> Any:
    """A session on the processor; the graph is made faster in all ways that the runtime knows but those named."""
    runtime = cast("Any", onnxruntime)  # it comes without types
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = FATAL
    # A waiting worker sleeps instead of spinning: the cores are shared with other models.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Weights are laid out once, not copied on the way: 40 MB less for a 90 MB model.
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    try:
        return runtime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"], disabled_optimizers=[*without]
        )
    except Exception as error:  # the runtime's errors share no base but Exception
        raise ModelLoadFailed(f"{file.name} could not be loaded: {last_line(error, file)}") from error


def run(session: Any, output: str, feeds: dict[str, Ints], file: Path) -> Floats:
    """One pass through the graph."""
    try:
        (states,) = cast("list[Floats]", session.run([output], feeds))
    except Exception as error:  # the runtime's errors share no base but Exception
        raise UpstreamRefused(f"{file.name} failed: {last_line(error, file)}") from error
    return states


def last_line(error: Exception, file: Path) -> str:
    """What the runtime said last, without places on this machine: of a path it names, only the end is told."""
    lines = str(error).replace(str(file), file.name).strip().splitlines()
    return PATH.sub(lambda path: path[1], lines[-1]) if lines else type(error).__name__


def input_types(session: Any, file: Path) -> dict[str, Any]:
    """The graph's inputs and their number types."""
    inputs = {str(given.name): str(given.type) for given in session.get_inputs()}
    strange = [name for name, kind in inputs.items() if name not in (IDS, MASK, TYPES) or kind not in INTEGERS]
    if strange or IDS not in inputs:
        raise ModelLoadFailed(
            f"{file.name} is no model of texts: it wants {', '.join(sorted(inputs)) or 'nothing'}, where "
            f"{IDS}, {MASK} and {TYPES} are what a text gives."
        )
    return {name: INTEGERS[kind] for name, kind in inputs.items()}


def fixed_length(session: Any) -> int | None:
    """How many tokens a row has to have; None where any number will do."""
    [shape] = [given.shape for given in session.get_inputs() if str(given.name) == IDS]
    return shape[1] if len(shape) == TEXT_VECTORS and isinstance(shape[1], int) else None


def pick_output(session: Any, file: Path) -> tuple[str, int]:
    """Name and rank of the output to read: a ready text vector, else the vectors of all tokens."""
    ranks = {str(given.name): len(given.shape) for given in session.get_outputs()}
    if ranks.get("sentence_embedding") == TEXT_VECTORS:
        return "sentence_embedding", TEXT_VECTORS
    for name, rank in ranks.items():
        if rank == TOKEN_VECTORS:
            return name, rank
    raise ModelLoadFailed(
        f"{file.name} is no text embedder: it answers {', '.join(ranks)}, not one vector a token or text."
    )


def pick_scores(session: Any, file: Path) -> str:
    """Name of the output with a score a label: `logits`, or the only one of that shape."""
    found = [str(given.name) for given in session.get_outputs() if len(given.shape) == TEXT_VECTORS]
    if "logits" not in found and len(found) != 1:
        raise ModelLoadFailed(f"{file.name} has no classification head: export it with its logits.")
    return "logits" if "logits" in found else found[0]
