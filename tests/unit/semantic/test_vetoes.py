"""Pairs of questions whose answers must not be exchanged, and pairs whose answers may."""

import pytest

from enginehouse.core.cache.semantic.edit import EditKind, compare
from enginehouse.core.cache.semantic.signature import sign
from enginehouse.core.cache.semantic.vetoes import vetoes

TRAPS = [
    ("numbers", "How do I pay invoice 4411?", "How do I pay invoice 4141?"),
    ("numbers", "Do trains run on Sunday?", "Do trains run on Monday?"),
    ("numbers", "What is 10% of 300?", "What is 30% of 100?"),
    ("numbers", "Can I park for 2 hours?", "Can I park for 2 days?"),
    ("numbers", "Is £50 enough?", "Is $50 enough?"),
    ("spans", "What does error E1042 mean?", "What does error E1024 mean?"),
    ("spans", "How do I call `get_user()`?", "How do I call `set_user()`?"),
    ("spans", 'Translate "good morning" into French', 'Translate "good evening" into French'),
    ("spans", "Summarise https://a.example/1", "Summarise https://a.example/2"),
    ("negation", "Which plants need sun?", "Which plants do not need sun?"),
    ("negation", "Can I fly with a passport?", "Can I fly without a passport?"),
    ("negation", "Why is the door closing?", "Why isn't the door closing?"),
    ("antonym", "How do I mute the microphone?", "How do I unmute the microphone?"),
    ("antonym", "How do I enable the firewall?", "How do I turn off the firewall?"),
    ("antonym", "Is the pool indoor?", "Is the pool outdoor?"),
    ("names", "Who is the mayor of Lyon?", "Who is the mayor of Nantes?"),
    ("names", "Does Alice report to Bob today?", "Does Alice report to Carol today?"),
    (
        "direction",
        "How do I sync files from my phone to my laptop?",
        "How do I sync files from my laptop to my phone?",
    ),
    ("direction", "Should I eat before the test?", "Should I eat after the test?"),
    ("direction", "How do I check in?", "How do I check out?"),
    ("direction", "Convert a PNG to a JPG", "Convert a JPG to a PNG"),
    ("comparison", "What is the biggest lake?", "What is the deepest lake with the smallest fish?"),
    ("comparison", "Which laptop is cheaper?", "Which laptop is faster?"),
    ("question", "When does the museum open?", "Where does the museum open?"),
    ("question", "How do I appeal a decision?", "Can I appeal a decision?"),
    ("mood", "Can I wear a helmet?", "Must I wear a helmet?"),
    ("mood", "What was the rate?", "What is the rate?"),
    ("persons", "What is your address?", "What is my address?"),
    ("persons", "Can you call me on Friday?", "Can I call you on Friday?"),
    ("persons", "Am I allowed to record calls?", "Are they allowed to record calls?"),
    ("voice", "Can I be sued by my landlord?", "Can I sue my landlord?"),
    ("voice", "Who was killed by Brutus?", "Who killed Brutus?"),
    ("voice", "Was Turing taught by Plato?", "Did Turing tecah Plato?"),
    ("voice", "Am I charged for returns?", "Do I chrage for returns?"),
    ("voice", "How do I get paid in euros?", "How do I pay in euros?"),
    ("voice", "Is my photo shared with partners?", "Can I share a photo with partners?"),
    ("direction", "Is the oven on?", "Is it in the oven?"),
    ("direction", "Which books are by Orwell?", "Which books are about Orwell?"),
    ("language", "What is the name of the hotel", "Wie ist der Name von dem hotel"),
    ("minimal_edit", "How do I water an orchid?", "How do I water a cactus?"),
    ("minimal_edit", "What is the late fee for books?", "What is the late fee for films?"),
]

SAME = [
    (EditKind.EQUAL, "How do I water an orchid?", "how can I water my orchid please"),
    (EditKind.EQUAL, "Is there a discount on trains?", "On trains, is there a discount?"),
    (EditKind.EQUAL, "Do I need to book a table for two?", "Must I book a table for 2?"),
    (EditKind.EQUAL, "Is the gate closed by the guards?", "Is the gate closed by guards, please?"),
    (EditKind.KNOWN, "Is the shop closed in August?", "Is the shop shut in August?"),
    (EditKind.EQUAL, "Is lunch included for retired nurses?", "Is a lunch included for retired nurses?"),
    (EditKind.EQUAL, "How long does it take for a parcel to arrive?", "How long does a parcel take to arrive?"),
    (EditKind.EQUAL, "Can I swap it within two weeks?", "Can I swap it within 14 days?"),
    (EditKind.EQUAL, "Who wrote Emma?", "Who is the author of Emma?"),
    (EditKind.EQUAL, "Can I pay back the loan early?", "Can I repay the loan early?"),
    (EditKind.LIGHT, "Is there parking at the station?", "Is there parking available at the station?"),
    (EditKind.EQUAL, "When is the deadline?", "What is the deadline?"),
    (EditKind.KNOWN, "How do I delete a photo?", "How do I remove a picture?"),
    (EditKind.KNOWN, "How do I read the electricity meter?", "How do I read the electricty meter?"),
    (EditKind.KNOWN, "What is the limit for a withdrawal?", "What is the limit for withdrawing?"),
    (EditKind.KNOWN, "What is the fastest route?", "What's the quickest route?"),
    (EditKind.LIGHT, "How do I change my address?", "I want to change my address, how do I do it?"),
]


def judged(stored, asked):
    one, other = sign(stored), sign(asked)
    edit = compare(one, other)
    return edit, vetoes(one, other, edit)


@pytest.mark.parametrize(("veto", "stored", "asked"), TRAPS)
def test_a_trap_is_vetoed_by_its_name_both_ways(veto, stored, asked):
    assert veto in judged(stored, asked)[1]
    assert veto in judged(asked, stored)[1]


@pytest.mark.parametrize(("kind", "stored", "asked"), SAME)
def test_what_means_the_same_passes_both_ways(kind, stored, asked):
    for one, other in ((stored, asked), (asked, stored)):
        edit, vetoed = judged(one, other)
        assert (edit.kind, vetoed) == (kind, ())


@pytest.mark.parametrize("text", sorted({text for _, *pair in TRAPS for text in pair}))
def test_a_question_means_what_it_means(text):
    edit, vetoed = judged(text, text)
    assert (edit.kind, edit.coverage, edit.recall, vetoed) == (EditKind.EQUAL, 1, 1, ())


@pytest.mark.parametrize(
    ("kind", "stored", "asked"),
    [
        (EditKind.EXTRA, "What are the symptoms of flu?", "What are the symptoms of flu in horses?"),
        (EditKind.REORDERED, "I have a TIFF and need a JPEG", "I have a JPEG and need a TIFF"),
        (EditKind.REORDERED, "Does the knight take the bishop?", "Does the bishop take the knight?"),
        (EditKind.REWORDED, "How do I water an orchid?", "My plant looks thirsty, what now?"),
    ],
)
def test_the_kind_of_an_edit_is_told(kind, stored, asked):
    assert judged(stored, asked)[0].kind is kind


def test_coverage_is_told_both_ways():
    edit = judged("Water an orchid", "Water an orchid in winter at home")[0]
    assert (edit.coverage, edit.recall, edit.lost, edit.won) == (1.0, 0.5, (), ("winter", "home"))
