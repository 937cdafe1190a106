"""Signs are looked for before words: whatever the words are, one of their signs is there."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enginehouse.core.cache.patterns import PERSONAL, SECRET, SECRET_MARKS, SECRET_SIGNS, VOLATILE


@pytest.mark.parametrize("words", [VOLATILE, PERSONAL], ids=["volatile", "personal"])
def test_no_words_go_without_a_sign(words):
    @settings(max_examples=500)
    @given(st.from_regex(words.pattern), st.booleans())
    def every(text, loud):
        assert words.found(text.upper() if loud and text.upper().casefold() == text.casefold() else text)

    every()


@pytest.mark.parametrize("words", [VOLATILE, PERSONAL], ids=["volatile", "personal"])
def test_nor_in_plain_letters(words):
    @settings(max_examples=500)
    @given(st.from_regex(words.pattern, alphabet=st.characters(codec="ascii")), st.booleans())
    def every(text, loud):
        assert words.found(text.upper() if loud else text)

    every()


@given(
    st.lists(
        st.sampled_from([*VOLATILE.pattern.pattern.replace("\\", " ").split("|"), "to-day", "NOW?", "a", "_now_"])
    )
)
def test_what_is_found_is_what_the_expression_finds(words):
    text = " ".join(words)
    assert VOLATILE.found(text) == (VOLATILE.pattern.search(text.casefold()) is not None)


@given(st.from_regex(SECRET))
def test_nor_does_a_secret(text):
    assert any(sign in text for sign in SECRET_SIGNS)


def test_nor_a_sign_of_one_without_a_mark():
    assert all(any(mark in sign for mark in SECRET_MARKS) for sign in SECRET_SIGNS if sign != "PRIVATE KEY")
    assert SECRET.pattern.startswith("-")


def test_words_are_whole():
    assert VOLATILE.found("What is the WEATHER like?")
    assert not VOLATILE.found("What does weathering mean for a nightingale?")


def test_of_a_long_text_both_ends_are_read():
    book = "All happy families are alike. " * 10_000
    assert VOLATILE.found(f"What is new today? {book}")
    assert VOLATILE.found(f"{book} What is new today?")
    assert not VOLATILE.found(f"{book} What is new today? {book}")
    assert not VOLATILE.found(f"{'x' * 3996} to{'-' * 9000}day")


VOCABULARY = [
    *(
        "to",
        "day",
        "today",
        "night",
        "right",
        "now",
        "as",
        "of",
        "at",
        "the",
        "moment",
        "this",
        "morning",
        "evening",
    ),
    *("afternoon", "week", "weekend", "month", "quarter", "year", "last", "next", "past", "few", "days", "monday"),
    *("sunday", "3", "12", "minute", "minutes", "hour", "weeks", "ago", "from", "most", "recent", "recently", "up"),
    *("date", "what", "what's", "is", "time", "current", "price", "rate", "president", "prime", "minister", "ceo"),
    *("version", "status", "score", "temperature", "stock", "share", "exchange", "live", "who", "winning", "still"),
    *(
        "open",
        "gerade",
        "eben",
        "aktuelle",
        "Heute",
        "aujourd'hui",
        "aujourd\u2019hui",
        "hier",
        "soir",
        "ma\u00f1ana",
    ),
    *("qu\u00e9", "tiempo", "\u4eca\u5929", "x", "_", "a\u00e9", "the", "of", "now"),
]


@settings(max_examples=1500)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(VOCABULARY),
            st.sampled_from([*[" "] * 12, "-", "  ", "\n", "? ", " ?", ", ", "", "\u00e9", "\u2003", " \u2003?"]),
        ),
        max_size=8,
    ),
    st.booleans(),
)
def test_whatever_stands_beside_what_the_expression_says_counts(words, loud):
    text = "".join([part for pair in words for part in pair])
    text = text.upper() if loud else text
    assert VOLATILE.found(text) == (VOLATILE.pattern.search(text.casefold()) is not None)
