"""A small part of the table of docs/cache-quality.md, in seconds: a worse veto or a looser score turns it red.

Generated pairs need no data set and no model: their cosine is taken to be high, as that of their like is.
"""

import pytest

from bench.cache.pairs import generate
from enginehouse.core.cache.semantic.scorer import judge, shipped
from enginehouse.core.cache.semantic.signature import sign

COSINE = 0.93


@pytest.fixture(scope="module")
def table():
    """Of every generated pair its kind, whether it should be served, and whether it is."""
    threshold, rows = shipped().threshold(0.01), []
    for pair in generate(900, calibration=False, seed=23) + generate(900, calibration=True, seed=24):
        stored, asked = sign(pair.stored), sign(pair.asked)
        probability = judge(shipped(), stored, asked, cosine=COSINE).probability
        rows.append((pair, probability is not None and probability <= threshold))
    return rows


@pytest.mark.parametrize("kind", ["slot", "swapped", "question"])
def test_traps_are_hardly_ever_served(table, kind):
    traps = [(pair, served) for pair, served in table if pair.kind == kind]
    wrong = [(pair.stored, pair.asked) for pair, served in traps if served]
    assert len(traps) > 40
    assert len(wrong) <= 0.01 * len(traps), wrong


def test_most_paraphrases_are(table):
    served = [served for pair, served in table if pair.same]
    assert sum(served) / len(served) > 0.7


def test_what_is_shipped_keeps_its_promise():
    calibration = shipped()
    assert calibration.threshold(0.01) <= 0.01
    assert calibration.threshold(0.0001) is None
    assert calibration.served > 1000
    assert min(calibration.weights[1:]) >= 0
