"""The network as an ONNX file with 8-bit weights."""

import tempfile
from pathlib import Path

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

from models.guard.network import Guard

__all__ = ["export"]

OPSET = 17


class _Told(torch.nn.Module):
    """The network with its features told beside the logits, so that a head can be trained on what it will read."""

    def __init__(self, guard: Guard) -> None:
        super().__init__()
        self.guard = guard

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.guard(input_ids, attention_mask), self.guard.pooled(input_ids, attention_mask.to(torch.float32))


def export(guard: Guard, file: Path, *, features: bool = False) -> None:
    """Write it.

    Args:
        guard: with its final weights.
        file: where to.
        features: whether a second output tells what the head reads.
    """
    guard.eval()
    ids = torch.randint(1000, 2000, (2, 12))
    names = ["logits", "features"] if features else ["logits"]
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.onnx"
        torch.onnx.export(
            _Told(guard) if features else guard,
            (ids, torch.ones_like(ids)),
            str(whole),
            input_names=["input_ids", "attention_mask"],
            output_names=names,
            dynamic_axes={
                **{name: {0: "batch", 1: "sequence"} for name in ("input_ids", "attention_mask")},
                **{name: {0: "batch"} for name in names},
            },
            opset_version=OPSET,
            dynamo=False,
        )
        quantize_dynamic(
            str(whole),
            str(file),
            op_types_to_quantize=["MatMul", "Gather"],
            weight_type=QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=_precise(onnx.load(str(whole))),
        )


def _precise(model: onnx.ModelProto) -> list[str]:
    """What is small and decides: the head and the word pairs stay as they are."""
    return [
        node.name for node in model.graph.node if any(part in node.name for part in ("hidden", "head", "pairs"))
    ]
