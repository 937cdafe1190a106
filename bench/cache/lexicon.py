"""Makes the word lists of the semantic cache from WordNet 3.0.

Run: `apt-get download wordnet-base`, unpack it, then `python -m bench.cache.lexicon FOLDER` with the folder that
holds `data.noun`. WordNet's licence asks that its notice stays with what is made of it; see docs/licences.md.
"""

import gzip
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

from bench.processes import ROOT

__all__ = ["main"]

TARGET = ROOT / "src" / "enginehouse" / "core" / "cache" / "semantic" / "data"
_KINDS = {"noun": "1", "verb": "2", "adj": "3", "adv": "4"}
_SHARE = 0.3
"""Two words are synonyms when the sense they share is at least this part of what each was seen to mean."""
_SEEN = 2
"""Least times that a word was seen in the sense, for it to count."""

Senses = dict[str, Counter[str]]
"""How often each word was seen in each of its senses, by `kind:offset`."""


class Synset:
    """One line of a data file: the words of one meaning, and which words mean the opposite."""

    def __init__(self, line: str, kind: str) -> None:
        fields = line.split(" | ", maxsplit=1)[0].split()
        count = int(fields[3], 16)
        self.key = f"{kind}:{fields[0]}"
        self.words = [_bare(fields[4 + 2 * index]) for index in range(count)]
        start = 4 + 2 * count
        pointers = [fields[start + 1 + 4 * n : start + 5 + 4 * n] for n in range(int(fields[start]))]
        self.opposites = [(p[1], *divmod(int(p[3], 16), 256)) for p in pointers if p[0] == "!"]


def _bare(word: str) -> str:
    return word.split("(", maxsplit=1)[0]


def synsets(folder: Path, kind: str) -> Iterator[Synset]:
    """The meanings of one kind of word."""
    for line in (folder / f"data.{kind}").read_text().splitlines():
        if not line.startswith("  "):
            yield Synset(line, _KINDS[kind])


def plain(word: str) -> bool:
    """Whether it is one word of small letters."""
    return word.isascii() and word.isalpha() and word.islower()


def seen(folder: Path) -> Senses:
    """How often each word was seen in each sense, in WordNet's own counts."""
    places = _places(folder)
    counts: Senses = defaultdict(Counter)
    for line in (folder / "cntlist.rev").read_text().splitlines():
        key, number, times = line.split()
        word, lexical = key.split("%")
        kind = "3" if lexical[0] == "5" else lexical[0]
        offsets = places.get((word, kind), [])
        if int(number) <= len(offsets):
            counts[word][f"{kind}:{offsets[int(number) - 1]}"] = int(times)
    return counts


def _places(folder: Path) -> dict[tuple[str, str], list[str]]:
    """Where each word's senses are, the commonest first."""
    places: dict[tuple[str, str], list[str]] = {}
    for kind, number in _KINDS.items():
        for line in (folder / f"index.{kind}").read_text().splitlines():
            if not line.startswith("  "):
                fields = line.split()
                places[fields[0], number] = fields[-int(fields[2]) :]
    return places


def synonyms(folder: Path, counts: Senses) -> set[tuple[str, str]]:
    """Pairs of words that mostly mean the same."""
    pairs: set[tuple[str, str]] = set()
    for kind in _KINDS:
        for synset in synsets(folder, kind):
            words = [word for word in synset.words if plain(word) and _mainly(counts[word], synset.key)]
            pairs.update(combinations(sorted(set(words)), 2))
    return pairs


def _mainly(senses: Counter[str], key: str) -> bool:
    return senses[key] >= max(_SEEN, _SHARE * senses.total())


def antonyms(folder: Path) -> set[tuple[str, str]]:
    """Pairs of words that mean the opposite of each other."""
    pairs: set[tuple[str, str]] = set()
    for kind, number in _KINDS.items():
        known = {synset.key: synset for synset in synsets(folder, kind)}
        for synset in known.values():
            for offset, mine, theirs in synset.opposites:
                pair = synset.words[mine - 1], known[f"{number}:{offset}"].words[theirs - 1]
                if all(plain(word) for word in pair) and pair[0] != pair[1]:
                    pairs.add((min(pair), max(pair)))
    return pairs


def irregular(folder: Path, counts: Senses) -> set[tuple[str, str]]:
    """Forms that no rule makes, and their words."""
    pairs: set[tuple[str, str]] = set()
    for kind in _KINDS:
        for line in (folder / f"{kind}.exc").read_text().splitlines():
            form, word = line.split()[:2]
            if plain(form) and plain(word) and word in counts and form != word:
                pairs.add((form, word))
    return pairs


def vocabulary(folder: Path) -> set[str]:
    """Every word of small letters, names too."""
    return {
        word.lower()
        for kind in _KINDS
        for synset in synsets(folder, kind)
        for word in synset.words
        if plain(word.lower()) and len(word) > 2
    }


def main(folder: Path) -> None:
    """Write the lists."""
    counts = seen(folder)
    lists = {"synonyms": synonyms(folder, counts), "antonyms": antonyms(folder), "forms": irregular(folder, counts)}
    for name, pairs in lists.items():
        (TARGET / f"{name}.txt").write_text("".join(f"{a} {b}\n" for a, b in sorted(pairs)))
    words = "\n".join(sorted(vocabulary(folder))).encode()
    (TARGET / "words.gz").write_bytes(gzip.compress(words, 9, mtime=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
