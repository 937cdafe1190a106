"""The floor that the guard has to be better than: a linear model over character and word runs."""

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.pipeline import make_pipeline, make_union

from models.guard.data import SEED, load
from models.guard.labels import LABELS
from models.guard.quality import Scores

__all__ = ["floor"]


def floor() -> Callable[[Sequence[str]], Scores]:
    """Learn it (half a minute), and score with it."""
    features = make_union(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=2, max_features=200_000),
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2),
    )
    linear = SGDClassifier(
        loss="modified_huber", alpha=2e-5, class_weight="balanced", random_state=SEED, max_iter=30
    )
    model = make_pipeline(features, linear)
    rows = load("train")
    model.fit([row.text for row in rows], [row.label for row in rows])
    order = [list(model.classes_).index(label) for label in LABELS]

    def score(texts: Sequence[str]) -> Scores:
        return np.asarray(model.predict_proba(list(texts)))[:, order]

    return score
