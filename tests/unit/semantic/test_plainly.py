"""What is read quickly is read as it would be plainly; and nothing that somebody may ask takes long."""

import random
import re
import sys
from itertools import islice
from time import process_time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.cache.pairs import generate
from enginehouse.core.cache.semantic import lexicon, phrasing, quantities, signature, spans
from enginehouse.core.cache.semantic import vetoes as rules
from enginehouse.core.cache.semantic.edit import compare
from enginehouse.core.cache.semantic.signature import LONGEST, sign
from enginehouse.core.cache.semantic.spotting import Phrases, folded, spellings
from tests.unit.semantic import plainly

_LETTERS = "abeinorstxU1250-_.,:;'\"`+#@/()!?$%£\u20ac\u0130\u0131\u017f\u212aßéÉ今\u200b\u2019\u2013\ue000\u0663 "
_SAID = (
    *(
        "um",
        "uh",
        "er",
        "erm",
        "please",
        "thanks",
        "hi there",
        "so",
        "but",
        "ok",
        "sorry to bother you",
        "tell me how",
    ),
    *(
        "tell me how",
        "how do I",
        "what is the best way to",
        "how long does it take for me to",
        "what does it cost",
        "may I",
    ),
    *(
        "don't",
        "can't",
        "Won't",
        "it's",
        "users'",
        "what's",
        "turn it off",
        "switching the light on",
        "hundred and",
    ),
    *(
        "$5",
        "us$ 7",
        "£1,000",
        "1.5m",
        "12:30",
        "7 pm",
        "3rd",
        "per cent",
        "this one",
        "in may",
        "1 march",
        "twenty-one",
    ),
    *(
        "`a b`",
        '"a b"',
        "'a b'",
        "```a```",
        "https://a.b/c",
        "www.a.b",
        "me@a.b",
        "/a/b",
        "./a/b",
        "GPT-4",
        "a1-2b",
    ),
    *("ab-12-34", "a_b", "aBc", "a.b()", "os.path", "C++", "C#", "10x", "5km", "US", "USA", "u.s.a.", "RÉSUMÉ"),
)
_TOLD = (
    *(spelling for ways in phrasing._PHRASES.values() for way in ways for spelling in spellings(way)),
    *(spelling for way in phrasing._TAILS for spelling in spellings(way)),
    *quantities._WORDS, *quantities._SCALES, *quantities._MONEY, *quantities._UNITS,
    *quantities._FULL_DAYS.split(), *quantities._FULL_MONTHS.split(),
)  # fmt: skip


def _texts():
    words = st.one_of(
        st.sampled_from(_SAID), st.sampled_from(_TOLD), st.text(_LETTERS, max_size=12), st.text(max_size=3)
    )
    written = st.tuples(words, st.sampled_from((str, str, str.upper, str.capitalize, str.title))).map(
        lambda pair: pair[1](pair[0])
    )
    between = st.sampled_from((" ", " ", " ", " ", ", ", "  ", "-", ".", "! ", "'", "/", "\n", "", ": "))
    return st.lists(st.tuples(written, between), max_size=12).map(
        lambda pairs: "".join(word + end for word, end in pairs)
    )


def _same(text):
    """Step by step, each with what the one before has left."""
    plain = signature._plain(text)
    assert plain == plainly.plain(text)
    assert list(spans.find_spans(plain)) == plainly.find_spans(plain)
    for words in (plain, signature._mask_spans(plain)[0]):
        assert phrasing.trimmed(words) == plainly.trimmed(words)
        assert phrasing.framed(words) == plainly.framed(words)
        assert phrasing.expanded(words) == plainly.expanded(words)
        assert [(begin, end) for begin, end, _ in quantities.find_quantities(words)] == plainly.find_quantities(
            words
        )


@given(_texts())
@example("\u0130n order to s\u0131gn up, \u017fo as to")
@example("how long does it take for FR\u0130DAY to come, please!! thanks ... ?")
@example("x'a b' 'c d'e a--b1--c +a+ a+# a.b.c() (a-1)-b/c/d")
def test_what_is_read_quickly_is_read_as_it_would_be_plainly(text):
    _same(text)


def test_so_is_every_phrase_of_the_tables():
    for told in _TOLD:
        _same(f"I {told} it")
        _same(told.upper())


def test_so_are_the_questions_of_the_benchmark():
    for pair in generate(300, calibration=False, seed=5) + generate(300, calibration=True, seed=6):
        _same(pair.stored)
        _same(pair.asked)


def test_spellings_are_all_that_an_expression_stands_for():
    assert spellings(r"sign(?:ing)?[ -]?(?:in|u\.p)") == [
        *("signing in", "signing u.p", "signing-in", "signing-u.p", "signingin", "signingu.p"),
        *("sign in", "sign u.p", "sign-in", "sign-u.p", "signin", "signu.p"),
    ]
    for ways in phrasing._PHRASES.values():
        for way in ways:
            assert all(re.fullmatch(way, spelling) for spelling in spellings(way))
    with pytest.raises(AssertionError):
        spellings("a+")
    with pytest.raises(AssertionError):
        spellings("a(?=b)")


def test_of_two_phrases_that_begin_alike_the_first_counts():
    phrases = Phrases({"one": ("big cat",), "two": ("big (?:cat|dog)", "cat")})
    assert phrases.replaced("A BIG cat, a big dog, a big cats, a cat") == "A one, a two, a big cats, a two"


def test_every_letter_is_folded_as_expressions_take_it():
    letters = "".join(chr(at) for at in range(sys.maxunicode + 1) if not 0xD800 <= at < 0xE000)
    small = folded(letters)
    assert len(small) == len(letters)
    for letter in "abcdefghijklmnopqrstuvwxyzé":
        assert set(re.findall(letter, letters, re.IGNORECASE)) == {
            letters[match.start()] for match in re.finditer(letter, small)
        }
    assert [match.start() for match in re.finditer(r"\W", small)] == [
        match.start() for match in re.finditer(r"\W", letters)
    ]


def _filled(head, unit, tail=""):
    return (head + unit * LONGEST)[: LONGEST - len(tail)] + tail


@pytest.mark.parametrize(
    "text",
    [
        *(_filled("x", "-11a", "-b"), _filled("", "a"), _filled("", "a", "@"), _filled("", "a-"), "1" * LONGEST),
        *(_filled("", "a-", "-1"), _filled("", "a--", "1b"), _filled("", "a."), _filled("", "a.", "@")),
        *(_filled("", "a.", "("), _filled("", "a+", "a"), _filled("", "a+", "\u00a7+"), _filled("", "1-")),
        *(_filled("1\u00a7", "a-"), _filled("", "aA", "_"), "a" * 1000 + "@" + "b" * 999, _filled("", "/a")),
        *(_filled("", "\u4eca\u65e5", "1"), _filled("", "/"), _filled("a", "."), _filled("a", "!?", "a please")),
        *(_filled("a", ".....please", "x please"), _filled("a", " please", " x please"), _filled("", "may ")),
        *(_filled("", "sorry to bother you but ", "("), _filled("", "1 may "), _filled("", "that one ")),
        *(_filled("", "1:"), _filled("", "switch a "), _filled("", '"'), _filled("", "`"), _filled("", " 'a")),
        *(_filled("", "make a "), _filled("", "to from "), _filled("", "1.2 us$ ")),
    ],
)
def test_nothing_takes_long(text):
    """A few ms on an idle machine; with one expression for all spans the first of these took longer than a day."""
    began = process_time()
    sign.__wrapped__(text)
    assert process_time() - began < 0.15


def test_no_more_spans_are_told_apart_than_there_are_marks_for():
    many = "`a` " * 400
    assert len(list(islice(spans.find_spans(many), 500))) == 400
    assert len(sign(many + "b").spans) == 256


def test_weekdays_may_have_any_i():
    assert sign("open on FR\u0130DAY").quantities == sign("open on friday").quantities == ("wd5",)


def test_texts_of_random_letters_are_read_as_they_would_be_plainly():
    chance = random.Random(7)
    for _ in range(300):
        _same("".join(chance.choice("ab1A-_.+#@/'\"` ") for _ in range(chance.randrange(60))))


def _compared_alike(stored, asked):
    if stored is None or asked is None:
        return
    edit = compare(stored, asked)
    assert (edit.lost, edit.won, edit.replaced) == plainly.compare(stored, asked)
    told = plainly.vetoes(stored, asked, edit.lost, edit.won)
    assert (rules._antonym(stored, asked, edit), rules._names(stored, asked, edit)) == told[:2]
    directed = rules._swapped(stored, asked)
    directed = directed or rules._crossed(frozenset(stored.directions), frozenset(asked.directions))
    assert (directed or rules._related(frozenset(stored.directions), frozenset(asked.directions))) == told[2]


def _related_words():
    """Words with their synonyms, opposites, forms and slips."""
    chance = random.Random(3)
    for one in chance.sample(sorted(lexicon._synonyms()), 150) + chance.sample(sorted(lexicon._antonyms()), 150):
        yield one
        yield from chance.sample(sorted({*lexicon._synonyms().get(one, ()), *lexicon._antonyms().get(one, ())}), 1)
        yield from (
            one + chance.choice(("al", "ment", "ness", "ly", "xy")),
            chance.choice(("un", "dis", "mis")) + one,
        )
        at = chance.randrange(len(one))
        yield from (
            one[:at] + one[at + 1 :],
            one[:at] + "q" + one[at:],
            one[:at] + one[at : at + 2][::-1] + one[at + 2 :],
        )


def test_questions_are_compared_as_if_every_word_were_held_against_every_other():
    chance, known = random.Random(4), [word for word in _related_words() if word.isalpha()]
    between = ("", "", "", "from", "to", "by", "about", "before", "after", "in", "on", "not", "X")
    for _ in range(400):
        words = chance.sample(known, 14)
        one, other = (
            " ".join(
                f"{chance.choice(between)} {chance.choice((str, str, str.title))(word)}"
                for word in chance.sample(words, chance.randrange(1, 12))
            )
            for _ in range(2)
        )
        _compared_alike(sign(one), sign(other))
    for pair in generate(300, calibration=False, seed=8):
        _compared_alike(sign(pair.stored), sign(pair.asked))


@given(st.text("abcd", min_size=1, max_size=12), st.text("abcd", min_size=1, max_size=12))
def test_slips_are_counted_as_by_their_definition(one, other):
    slips = plainly.slips(one, other)
    assert [lexicon._slips(one, other, most) for most in (1, 2)] == [slips <= 1, slips <= 2]
    if slips <= lexicon.MOST_SLIPS:
        assert (lexicon.letters_in(one) ^ lexicon.letters_in(other)).bit_count() <= 2 * slips


def test_long_questions_that_share_nothing_are_soon_compared():
    """In some ms on an idle machine; word by word it took a second."""
    words = [
        word for word in sorted(lexicon._words()) if word[:1] == "c" and len(word) in (5, 6) and word.isalpha()
    ]
    strange = [f"{word[:2]}q{word[3:]}x" for word in words]
    stored, asked = (sign(" ".join(some)[: LONGEST - 1]) for some in (words, strange[::-1]))
    began = process_time()
    compared = compare(stored, asked)
    assert process_time() - began < 0.3
    assert len(compared.lost) > 200
