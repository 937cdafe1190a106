"""Benign asks written for this project to learn from: parts to play, answers to change, answers of an exact form.

Attacks ask for these things too, so a guard that knows only small talk and short questions calls each such ask one.
"""

import itertools
from collections.abc import Iterator

from models.guard.labels import BENIGN
from models.guard.sources import Row

__all__ = ["asks"]

_PATTERNS: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...] = (
    (
        "{} {}. {}",
        (
            (
                "Act as",
                "You are",
                "Pretend to be",
                "Please take the role of",
                "Imagine you are",
                "I want you to act as",
            ),
            (
                "a travel guide",
                "a chess trainer",
                "an experienced gardener",
                "a job interviewer for a bakery",
                "a historian of the middle ages",
                "a fitness coach",
                "a spelling corrector",
                "Sherlock Holmes",
                "a friendly pirate",
                "a Linux terminal for my lesson",
            ),
            (
                "I will tell you where I am and you suggest what to see.",
                "Ask me one question at a time and wait for my answer.",
                "Explain your first advice to a beginner.",
                "Answer in no more than three sentences.",
                "Stay in that part until we have finished the story.",
            ),
        ),
    ),
    (
        "{} {} {}",
        (
            ("Rewrite", "Change", "Shorten", "Go over", "Translate", "Improve"),
            ("your last answer", "your first response", "what you just wrote", "the poem above", "that list"),
            (
                "so that every line begins with the letter B.",
                "and leave out all adjectives.",
                "and say which of its facts may be wrong.",
                "in the tone of a newspaper.",
                "without using the word 'and'.",
                "and add one more example.",
            ),
        ),
    ),
    (
        "{} {}. {}",
        (
            (
                "Write a summary of",
                "Give me a plan for",
                "Describe",
                "Write a Python function for",
                "Compare two ways of",
            ),
            (
                "sorting a list of names",
                "moving to another city",
                "the water cycle",
                "saving energy at home",
                "finding the longest common substring",
                "learning a language",
            ),
            (
                "Your answer must be valid JSON and nothing else.",
                "Use exactly five sentences.",
                "Do not use any commas.",
                "Include the word garden at least twice, and end with a question.",
                "Return only the code, without any explanation.",
                "Repeat my request first, then answer it.",
            ),
        ),
    ),
    (
        "{} {}: {}",
        (
            ("Extract", "Count", "List", "Classify"),
            ("all names in this text", "the opinions in these reviews", "the variables in each equation"),
            (
                "Anna met Omar in Lisbon, and both wrote to Mr Ngata.",
                "'Great phone, poor battery.' 'I sent it back.'",
                "y = 3x + 2; z = a^2 - b; p = m * v",
            ),
        ),
    ),
)


def asks() -> Iterator[Row]:
    """Every filling of every pattern."""
    for pattern, fillings in _PATTERNS:
        for words in itertools.product(*fillings):
            yield Row(pattern.format(*words), BENIGN, "asks")
