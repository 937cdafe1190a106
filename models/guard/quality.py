"""How good guards are: `python -m models.guard.quality` holds each against what it learnt nothing from."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from sklearn.metrics import f1_score, roc_auc_score

from models.guard.data import load
from models.guard.labels import BENIGN, LABELS
from models.guard.sources import Row

__all__ = ["Score", "Scores", "figures", "main", "table", "threshold"]

Scores: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
"""Probabilities `[text, label]`, in the order of `LABELS`."""

Score: TypeAlias = Callable[[Sequence[str]], Scores]
"""A model."""

ALLOWED = 0.005
"""Share of benign chat that the threshold may call an attack: half of what is promised, since few set it."""

SPLITS = ("calibration", "held_out", "fresh", "traps", "test")


def threshold(rows: Sequence[Row], scores: Scores) -> float:
    """The lowest score of an attack that no more of any source of benign chat reach than are allowed.

    Rounded up to four digits, as it is written down.
    """
    highest = 0.0
    for source in {row.source for row in rows}:
        attack = np.sort(1.0 - scores[[row.source == source for row in rows], -1])[::-1]
        highest = max(highest, float(attack[int(len(attack) * ALLOWED)]))
    return math.floor(highest * 10_000 + 1) / 10_000


def figures(score: Score, cut: float | None = None) -> dict[str, Any]:
    """All figures of a model; its threshold is found where none is given."""
    rows = {name: load(name) for name in SPLITS}
    scores = {name: score([row.text for row in rows[name]]) for name in SPLITS}
    cut = threshold(rows["calibration"], scores["calibration"]) if cut is None else cut
    return {
        "threshold": cut,
        **{name: of_split(rows[name], scores[name], cut) for name in ("held_out", "fresh", "test")},
        "traps": {"fpr_half": share(scores["traps"], 0.5), "fpr": share(scores["traps"], cut)},
        "benign": {
            **by_source(rows["held_out"], scores["held_out"], cut),
            **by_source(rows["fresh"], scores["fresh"], cut),
        },
    }


def of_split(rows: Sequence[Row], scores: Scores, cut: float) -> dict[str, Any]:
    """Figures of one split."""
    truth = np.array([LABELS.index(row.label) for row in rows])
    attack = truth != LABELS.index(BENIGN)
    guessed = 1.0 - scores[:, -1]
    each = f1_score(truth, scores.argmax(1), average=None, labels=range(len(LABELS)), zero_division=0.0)
    return {
        "f1": {label: round(float(value), 3) for label, value in zip(LABELS, each, strict=True)},
        "macro_f1": round(float(np.mean(each)), 3),
        "auc": round(float(roc_auc_score(attack, guessed)), 3),
        "f1_half": round(float(f1_score(attack, guessed >= 0.5)), 3),
        "fpr_half": share(scores[~attack], 0.5),
        "fpr": share(scores[~attack], cut),
        "recall": share(scores[attack], cut),
    }


def by_source(rows: Sequence[Row], scores: Scores, cut: float) -> dict[str, float]:
    """False positives of every benign source at the threshold."""
    names = sorted({row.source for row in rows if row.label == BENIGN})
    return {
        name: share(scores[[row.source == name and row.label == BENIGN for row in rows]], cut) for name in names
    }


def share(scores: Scores, cut: float) -> float:
    """Which part is called an attack."""
    return round(float(np.mean(1.0 - scores[:, -1] >= cut)), 3)


HEADER = (
    "| model | PI | JB | SE | CI | benign | macro-F1 | AUC | FPR at ½ | traps | recall | FPR "
    "| small talk | fresh: AUC | recall | FPR of chat, asks, forms |"
)


def table(found: dict[str, dict[str, Any]]) -> str:
    """The figures of several models as a table in Markdown.

    Recall and every FPR without a ½ are those at the model's threshold.
    """
    return "\n".join([HEADER, "|---" * (HEADER.count("|") - 1) + "|", *(line(*item) for item in found.items())])


def line(name: str, model: dict[str, Any]) -> str:
    """One model."""
    held, fresh, benign = model["held_out"], model["fresh"], model["benign"]
    five = held["f1"][LABELS[1]] > 0  # a model that knows attacks only has all of them on the first label
    each = [f"{held['f1'][label]:.2f}" if five else "-" for label in LABELS]
    cells = [
        f"{name} (≥ {model['threshold']:.4f})",
        *each,
        f"{held['macro_f1']:.3f}" if five else "-",
        f"{held['auc']:.3f}",
        f"{held['fpr_half']:.3f}",
        f"{model['traps']['fpr_half']:.3f}, {model['traps']['fpr']:.3f}",
        f"{held['recall']:.3f}",
        f"{held['fpr']:.3f}",
        f"{benign['chatterbot']:.3f}",
        f"{fresh['auc']:.3f}",
        f"{fresh['recall']:.3f}",
        f"{benign['chitchat']:.3f}, {benign['mtbench']:.3f}, {benign['ifbench']:.3f}",
    ]
    return f"| {' | '.join(cells)} |"


def stated(folder: Path) -> float:
    """The threshold that a folder comes with."""
    return float(json.loads((folder / "config.json").read_text())["attack_threshold"])


def main() -> None:
    """Measure what ships, the candidates that are here and what they have to beat; all figures follow as JSON."""
    from models.guard.build import FOLDER
    from models.guard.floor import floor
    from models.guard.scoring import scorer
    from models.guard.train import RUNS

    shipped = {"guard, as it ships": FOLDER, "NanoGuard": FOLDER.parent / "nanoguard"}
    found = {name: figures(scorer(folder), stated(folder)) for name, folder in shipped.items()}
    folders: list[Path] = sorted(file.parent for file in RUNS.glob("*/model.onnx"))
    for folder in folders:
        found[folder.name] = figures(scorer(folder))
    found["TF-IDF, linear: the floor"] = figures(floor())
    print(table(found))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
