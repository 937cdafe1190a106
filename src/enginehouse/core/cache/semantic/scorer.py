"""How likely the answer of one question is wrong for another where no veto says so: a calibrated logistic model.

Its weights, and the probability up to which hits may be served, come from `calibration.json`, which
`python -m bench.cache.calibrate` makes.
"""

import math
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

import msgspec
from msgspec import Struct

from enginehouse.core.cache.semantic.edit import Edit, EditKind, compare
from enginehouse.core.cache.semantic.signature import Signature
from enginehouse.core.cache.semantic.vetoes import Veto, vetoes

__all__ = ["FEATURES", "NEAREST", "Calibration", "Judgement", "features", "judge", "rungs", "shipped"]

_KINDS = (EditKind.KNOWN, EditKind.LIGHT, EditKind.REORDERED, EditKind.EXTRA, EditKind.REWORDED)
_MEASURES = ("one", "distance", "crowded", "lost", "won", "replaced", "unanswered", "length")
FEATURES = (*_MEASURES, *(kind.value for kind in _KINDS))
"""What the model looks at, in the order of its weights."""

NEAREST = 0.1
"""Difference in cosine between the nearest entry and the next from which the next does not matter."""
_RUNGS = 30
"""Thresholds that are tried for one bound."""


class Calibration(Struct, frozen=True, kw_only=True):
    """What was learnt from labels."""

    embedder: str
    """Model whose cosines it was learnt with."""
    floor: float
    """Cosine under which nothing is a candidate."""
    weights: tuple[float, ...]
    """One for each of `FEATURES`."""
    thresholds: dict[str, float | None]
    """For each bound on P(wrong | hit), the largest probability under which hits are served; None: none are."""
    labels: int
    """Would-be hits the thresholds were learnt from."""
    served: int = 0
    """Those among them that the threshold for the default bound serves."""
    wrong: int = 0
    """And those of these that were wrong."""

    def threshold(self, max_error: float) -> float | None:
        """The threshold for the strictest learnt bound that keeps this one; None when none does."""
        bounds = sorted(
            (float(bound), value) for bound, value in self.thresholds.items() if float(bound) <= max_error
        )
        return bounds[-1][1] if bounds else None

    def probability(self, values: Sequence[float]) -> float:
        """That the answer is wrong, from the values of the features."""
        total = math.fsum(weight * value for weight, value in zip(self.weights, values, strict=True))
        return 1 / (1 + math.exp(-max(-40.0, min(40.0, total))))


class Judgement(Struct, frozen=True):
    """What is thought of one candidate."""

    edit: Edit
    vetoes: tuple[Veto, ...]
    probability: float | None
    """That its answer is wrong; None when it was vetoed."""


def judge(
    calibration: Calibration,
    stored: Signature,
    asked: Signature,
    *,
    cosine: float,
    margin: float = NEAREST,
    answer: frozenset[str] | None = None,
) -> Judgement:
    """Look at one candidate.

    Args:
        cosine: of the two questions.
        margin: by how much the nearest entry of other content is farther; below 0 when it is nearer.
        answer: stems that the stored answer holds; None when it is not known.
    """
    edit = compare(stored, asked)
    ruled_out = vetoes(stored, asked, edit)
    if ruled_out:
        return Judgement(edit, ruled_out, None)
    values = features(stored, asked, edit, cosine=cosine, margin=margin, answer=answer)
    return Judgement(edit, (), calibration.probability(values))


def features(
    stored: Signature,
    asked: Signature,
    edit: Edit,
    *,
    cosine: float,
    margin: float,
    answer: frozenset[str] | None,
) -> tuple[float, ...]:
    """The values of `FEATURES`; each grows with what speaks against a hit."""
    # How near it is, and who else, says whether it is meant; content known to be the same says so itself.
    doubtful = edit.kind not in (EditKind.EQUAL, EditKind.KNOWN)
    crowd = NEAREST - min(NEAREST, max(0.0, margin))
    unanswered = [stem for stem in edit.won if answer is None or stem not in answer]
    lengths = len(stored.content), len(asked.content)
    return (
        1.0,
        10 * (1 - cosine) * doubtful,
        10 * crowd * doubtful,
        1 - edit.coverage,
        1 - edit.recall,
        edit.replaced / max(lengths),
        len(unanswered) / lengths[1],
        abs(lengths[0] - lengths[1]) / max(lengths),
        *(float(edit.kind is kind) for kind in _KINDS),
    )


def rungs(max_error: float) -> tuple[float, ...]:
    """Probabilities that are tried as thresholds, from a thousandth of the bound to the bound itself.

    So two things hold for every hit: such hits together are wrong no more often than allowed, and this one is not
    thought to be, either. Without the second the sure ones would pay for the doubtful.
    """
    return tuple(max_error * 10 ** (3 * (n / _RUNGS - 1)) for n in range(1, _RUNGS + 1))


@cache
def shipped() -> Calibration:
    """The calibration that comes with the package."""
    file = files("enginehouse.core.cache.semantic") / "calibration.json"
    return msgspec.json.decode(file.read_bytes(), type=Calibration)
