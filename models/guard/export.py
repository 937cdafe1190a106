"""A network of token ids and mask as an ONNX file with 8-bit weights."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

__all__ = ["export"]

OPSET = 17
PRECISE = ("hidden", "head", "pairs")
"""What is small and decides stays as it is: the head and the word pairs."""


def export(
    network: torch.nn.Module, file: Path, *, length: int | None = None, precise: Sequence[str] = PRECISE
) -> None:
    """Write it.

    Args:
        network: with its final weights.
        file: where to.
        length: tokens of every text, padding included, where the network reads no other number of them.
        precise: parts of the names of what keeps its 32 bits.
    """
    network.eval()
    ids = torch.randint(1000, 2000, (2, length or 12))
    inputs = ["input_ids", "attention_mask"]
    free = {0: "batch"} if length else {0: "batch", 1: "sequence"}
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.onnx"
        torch.onnx.export(
            network,
            (ids, torch.ones_like(ids)),
            str(whole),
            input_names=inputs,
            output_names=["logits"],
            dynamic_axes={**dict.fromkeys(inputs, free), "logits": {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,
        )
        quantize_dynamic(
            str(whole),
            str(file),
            op_types_to_quantize=["MatMul", "Gather"],
            weight_type=QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=[
                node.name for node in onnx.load(str(whole)).graph.node if any(part in node.name for part in precise)
            ],
        )
