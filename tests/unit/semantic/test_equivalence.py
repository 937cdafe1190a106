"""Answers that say the same, and answers that do not."""

import pytest

from enginehouse.core.cache.semantic.equivalence import equivalent

LONG = "Open the settings, choose the account page, press the red button and confirm the change with your password"


@pytest.mark.parametrize(
    ("kept", "fresh", "cosine"),
    [
        ("Lisbon.", "lisbon", None),
        ("Lisbon", "The capital of Portugal is Lisbon.", 0.6),
        (LONG, LONG.replace("Open", "First open"), None),
        (LONG, "Quite another way of saying it: password, page, button", 0.9),
        ("It costs £5.", "It costs 5 pounds.", None),
    ],
)
def test_the_same_is_the_same(kept, fresh, cosine):
    assert equivalent(kept, fresh, cosine) is True
    assert equivalent(fresh, kept, cosine) is True


@pytest.mark.parametrize(
    ("kept", "fresh", "cosine"),
    [
        ("Yes, you can bring a dog.", "No, you can bring no dog.", 0.95),
        ("It is allowed.", "It is not allowed.", 0.95),
        ("It costs £5.", "It costs £6.", 0.99),
        ("Lisbon", "Porto", 0.8),
        (
            LONG,
            "Water the plants twice a week, in winter more rarely, and keep every one of them out of the sun",
            0.1,
        ),
    ],
)
def test_what_differs_is_told(kept, fresh, cosine):
    assert equivalent(kept, fresh, cosine) is False
    assert equivalent(fresh, kept, cosine) is False


def test_where_it_cannot_be_told_it_says_so():
    other = "Call the shop, ask for a manager, describe your trouble, wait for the letter and send it back signed"
    assert equivalent(LONG, other, 0.7) is None
    assert equivalent(LONG, other, None) is None


def test_a_number_without_end_is_a_number():
    long = "9" * 5000
    assert equivalent(f"It takes {long} weeks.", f"It takes {long} weeks.", None)
    assert equivalent(f"It takes {long} weeks.", f"It takes {long}1 million dollars.", None) is False
