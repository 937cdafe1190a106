"""How good a guard is: figures of one model over the splits that nothing was learnt from."""

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from sklearn.metrics import f1_score, roc_auc_score

from models.guard.data import load
from models.guard.labels import BENIGN, LABELS
from models.guard.sources import Row

__all__ = ["Scores", "figures", "main", "table"]

Scores: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
"""Probabilities `[text, label]`, in the order of `LABELS`."""

ALLOWED = 0.005
"""Share of benign chat that the threshold may call an attack: half of what is promised, since few set it."""


def threshold(benign: Scores) -> float:
    """The lowest score of an attack that no more of these benign texts reach than are allowed."""
    attack = np.sort(1.0 - benign[:, -1])[::-1]
    return float(np.nextafter(attack[int(len(attack) * ALLOWED)], 2.0))


def figures(score: Callable[[Sequence[str]], Scores], *, labels: bool = True) -> dict[str, Any]:
    """All figures of a model.

    Args:
        score: the model.
        labels: whether it knows five labels, or attack and benign only.
    """
    scores = {
        name: score([row.text for row in load(name)]) for name in ("calibration", "held_out", "traps", "test")
    }
    cut = threshold(scores["calibration"])
    found: dict[str, Any] = {"threshold": round(cut, 4)}
    for name in ("held_out", "test"):
        found[name] = of_split(load(name), scores[name], cut, labels=labels)
    found["traps"] = {
        "fpr_half": share(scores["traps"], 0.5),
        "fpr": share(scores["traps"], cut),
    }
    found["benign"] = by_source(scores["held_out"], cut)
    return found


def of_split(rows: Sequence[Row], scores: Scores, cut: float, *, labels: bool) -> dict[str, Any]:
    """Figures of one split."""
    truth = np.array([LABELS.index(row.label) for row in rows])
    attack = truth != LABELS.index(BENIGN)
    guessed = 1.0 - scores[:, -1]
    found: dict[str, Any] = {
        "auc": round(float(roc_auc_score(attack, guessed)), 3),
        "f1_half": round(float(f1_score(attack, guessed >= 0.5)), 3),
        "fpr_half": share(scores[~attack], 0.5),
        "fpr": share(scores[~attack], cut),
        "recall": share(scores[attack], cut),
    }
    if labels:
        each = f1_score(truth, scores.argmax(1), average=None, labels=range(len(LABELS)))
        found["f1"] = {label: round(float(value), 3) for label, value in zip(LABELS, each, strict=True)}
        found["macro_f1"] = round(float(np.mean(each)), 3)
    return found


def by_source(scores: Scores, cut: float) -> dict[str, float]:
    """False positives of every benign source at the threshold."""
    rows = load("held_out")
    names = sorted({row.source for row in rows if row.label == BENIGN})
    return {
        name: share(scores[[row.source == name and row.label == BENIGN for row in rows]], cut) for name in names
    }


def share(scores: Scores, cut: float) -> float:
    """Which part is called an attack."""
    return round(float(np.mean(1.0 - scores[:, -1] >= cut)), 3)


def table(found: dict[str, dict[str, Any]]) -> str:
    """The figures of several models as a table in Markdown."""
    lines = [
        "| model | PI | JB | SE | CI | benign | macro-F1 | AUC | FPR at ½ | FPR, recall | traps FPR at ½, FPR |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, model in found.items():
        held = model["held_out"]
        each = [f"{held['f1'][label]:.2f}" for label in LABELS] if "f1" in held else ["-"] * len(LABELS)
        macro = f"{held['macro_f1']:.3f}" if "f1" in held else "-"
        lines.append(
            f"| {name} | {' | '.join(each)} | {macro} | {held['auc']:.3f} | {held['fpr_half']:.3f} "
            f"| {held['fpr']:.3f}, {held['recall']:.3f} (≥ {model['threshold']}) "
            f"| {model['traps']['fpr_half']:.3f}, {model['traps']['fpr']:.3f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure all models and print the table; the figures go beside the graph as JSON."""
    from models.guard.build import FOLDER
    from models.guard.floor import floor
    from models.guard.scoring import scorer

    found = {"guard": figures(scorer(FOLDER)), "TF-IDF, linear (the floor)": figures(floor())}
    print(table(found))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
