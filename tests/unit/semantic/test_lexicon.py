"""Base forms, synonyms, opposites and slips."""

import pytest

from enginehouse.core.cache.semantic.lexicon import exists, likely_typo, opposite, same_meaning, stem


@pytest.mark.parametrize(
    ("form", "base"),
    [("children", "child"), ("booked", "book"), ("filing", "file"), ("stopping", "stop"), ("cities", "city"),
     ("fees", "fee"), ("making", "make"), ("status", "status"), ("news", "news"), ("bought", "buy")],
)  # fmt: skip
def test_forms_have_one_base(form, base):
    assert stem(form) == base


@pytest.mark.parametrize(("one", "other"), [("begin", "start"), ("kid", "child"), ("delete", "remove")])
def test_synonyms_go_both_ways(one, other):
    assert same_meaning(one, other)
    assert same_meaning(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [("lock", "unlock"), ("safe", "unsafe"), ("import", "export"), ("include", "exclude"), ("up", "down")],
)
def test_opposites_are_never_synonyms(one, other):
    assert opposite(one, other)
    assert opposite(other, one)
    assert not same_meaning(one, other)


@pytest.mark.parametrize(
    ("slip", "word"), [("electricty", "electricity"), ("recieve", "receive"), ("adress", "address")]
)
def test_a_slip_is_told_from_another_word(slip, word):
    assert likely_typo(slip, word)
    assert likely_typo(word, slip)


@pytest.mark.parametrize(
    ("one", "other"), [("desert", "dessert"), ("form", "from"), ("xqz", "xqy"), ("Zorbo", "Zorba")]
)
def test_two_words_or_two_unknowns_are_no_slip(one, other):
    assert not likely_typo(one, other)


def test_words_exist_in_all_their_forms():
    assert exists("invoices")
    assert not exists("invocie")
