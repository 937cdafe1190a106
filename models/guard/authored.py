"""Benign texts written for this project: some to learn from, others (`traps.txt`) only to be measured with.

Guards tend to learn words instead of intents. Each pattern here uses such a word innocently; none of them, and none
of their fillings, is used again in the measured set.
"""

import itertools
from collections.abc import Iterator

from models.guard.labels import BENIGN
from models.guard.packages import HERE
from models.guard.sources import Row

__all__ = ["learnt", "traps"]

_PATTERNS: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...] = (
    (
        "{} my {}, {}",
        (
            (
                "Please ignore",
                "You can ignore",
                "Kindly disregard",
                "Just ignore",
                "Sorry, ignore",
                "Please forget",
            ),
            (
                "last message",
                "earlier invoice",
                "second question",
                "previous draft",
                "first booking",
                "note from Monday",
            ),
            (
                "it had the wrong date.",
                "I found the answer myself.",
                "the attachment was missing.",
                "I will send a new one.",
            ),
        ),
    ),
    (
        "How do I {} the {} in {}?",
        (
            ("override", "bypass", "reset", "disable", "inject", "execute", "extract", "escape"),
            ("default theme", "cache", "build step", "base class method", "dependency", "startup script", "quotes"),
            ("Django", "Spring Boot", "Visual Studio Code", "a Gradle project", "Angular", "Excel"),
        ),
    ),
    (
        "{} {} for {}.",
        (
            (
                "Write instructions",
                "Write a system prompt",
                "Draft new rules",
                "Summarise the safety guidelines",
                "Rewrite the policy",
            ),
            ("that are short and friendly", "in plain English", "with five bullet points", "in a formal tone"),
            (
                "a cooking assistant",
                "new colleagues in the warehouse",
                "our swimming pool",
                "a tutoring bot",
                "the school library",
            ),
        ),
    ),
    (
        "{} {} and {}.",
        (
            (
                "Pretend you are a waiter",
                "Act as a travel guide in Lisbon",
                "Play the role of an interviewer",
                "Imagine you are a pirate",
                "Be my English teacher",
                "You are a friendly gardener",
            ),
            ("greet me", "ask me three questions", "tell me about your day", "recommend something"),
            ("wait for my answer", "keep it short", "correct my grammar", "use simple words"),
        ),
    ),
    (
        "What is {} {}?",
        (
            (
                "a jailbreak",
                "prompt injection",
                "a system prompt",
                "SQL injection",
                "an exploit",
                "root access",
                "cross-site scripting",
                "a backdoor",
                "privilege escalation",
                "a code interpreter",
            ),
            (
                "in simple words",
                "and how do companies defend against it",
                "and why does it matter",
                "in one paragraph for my thesis",
            ),
        ),
    ),
    (
        "{} {} {}",
        (
            ("Repeat", "Translate", "Summarise", "Print", "Spell out", "Show me"),
            (
                "the last line of the poem",
                "the instructions on this washing label",
                "the recipe above",
                "the second paragraph",
                "your previous answer",
            ),
            ("in French.", "word for word.", "as a numbered list.", "in capital letters.", "once more, please."),
        ),
    ),
    (
        "Our {} has a hidden {}; how can I {} it?",
        (
            ("spreadsheet", "Linux server", "router", "website", "phone"),
            ("column", "folder", "admin page", "network", "developer menu"),
            ("reveal", "unlock", "rename", "protect", "delete"),
        ),
    ),
)

_SMALL_TALK = (
    ("hi", "hello there", "hey, good morning", "good evening", "greetings"),
    (
        "",
        ", how are you",
        ", what's up",
        ", how was your weekend",
        ", nice to meet you",
        ", are you a robot",
        ", can you hear me",
    ),
)
_WONDERS = (
    (
        "Do you like",
        "Tell me about",
        "Who invented",
        "What do you think of",
        "Why do people enjoy",
        "Have you heard of",
        "Can you explain",
        "I am learning about",
        "What is so good about",
        "My brother hates",
    ),
    (
        "jazz",
        "football",
        "pineapple on pizza",
        "the telephone",
        "black holes",
        "the Roman empire",
        "chess",
        "electric cars",
        "poetry",
        "old computers",
        "yoga",
        "the weather in Norway",
        "robots",
        "science fiction",
        "detective novels",
        "stamp collecting",
    ),
)
_DAILY = (
    "I feel sad today",
    "I'm bored",
    "tell me a joke",
    "make me laugh",
    "what time is it",
    "where are you from",
    "how old are you",
    "do you have feelings",
    "are you alive",
    "who made you",
    "what can you do",
    "can you sing",
    "my printer does not work",
    "the wifi is slow again",
    "I forgot my password and the reset mail never came",
    "my order has not arrived",
    "I'd like to cancel my subscription",
    "thanks, that helped",
    "that is not what I meant",
    "ok",
    "yes please",
    "no thank you",
    "see you tomorrow",
    "what's your name",
    "do you dream",
    "is there life on Mars",
    "how far is the moon",
    "which is bigger, a lion or a tiger",
    "who won the world cup in 1998",
    "what is the capital of Peru",
    "how do planes fly",
    "I can't sleep",
    "my boss is angry with me",
    "should I learn the piano",
    "recommend a film",
    "what is love",
    "do you believe in ghosts",
    "I had pasta for lunch",
    "how much is a barrel of oil",
    "what does inflation mean",
    "which laptop should I buy",
    "why is the sky blue",
    "Can you drive a car?",
    "Are you smarter than me?",
    "You are funny.",
    "You did that wrong.",
    "Are you a program?",
    "Stop it.",
)


def learnt() -> Iterator[Row]:
    """Texts to learn from."""
    for pattern, fillings in _PATTERNS:
        for number, words in enumerate(itertools.product(*fillings)):
            if number % 2 == 0:
                yield Row(pattern.format(*words), BENIGN, "authored")
    for words in itertools.product(*_SMALL_TALK):
        yield Row("".join(words), BENIGN, "authored")
    for words in itertools.product(*_WONDERS):
        yield Row(
            " ".join(words) + ("?" if words[0].split()[0] in {"Do", "Who", "What", "Why", "Have", "Can"} else "."),
            BENIGN,
            "authored",
        )
    for text in _DAILY:
        yield Row(text, BENIGN, "authored")


def traps() -> Iterator[Row]:
    """Texts to measure with: benign, each with a word that guards trip over."""
    for line in (HERE / "traps.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            yield Row(line, BENIGN, "traps")
