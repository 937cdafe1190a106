"""NanoGuard as a folder for the service: `python -m models.nanoguard.convert`; its answers stay what they were."""

import json

from models.guard.export import export
from models.guard.packages import HERE
from models.nanoguard import network, tokens

__all__ = ["FOLDER", "main"]

FOLDER = HERE.parent.parent / "src" / "enginehouse" / "models" / "nanoguard"
"""Where it ships from."""

LABELS = ("safe", "injection")
"""As its makers have them."""


def main() -> None:
    """Write the folder."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    export(network.published(), FOLDER / "model.onnx", length=network.LENGTH, precise=("cls_head",))
    (FOLDER / "tokenizer.json").write_text(tokens.tokenizer(tokens.published()))
    config = {
        "architectures": ["NanoGuardForSequenceClassification"],
        "model_type": "nanoguard",
        "problem_type": "single_label_classification",
        "id2label": {str(number): label for number, label in enumerate(LABELS)},
        "label2id": {label: number for number, label in enumerate(LABELS)},
        "neutral_label": "safe",
        "attack_threshold": 0.5,
        "max_position_embeddings": network.LENGTH,
    }
    (FOLDER / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    print(f"{(FOLDER / 'model.onnx').stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
