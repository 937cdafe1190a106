"""NanoGuard's tokenizer: from a pickled one of tiktoken to a `tokenizer.json`; nothing of the pickle is run."""

import io
import itertools
import json
import pickle
from collections.abc import Iterator
from typing import Any

from models.guard.packages import member
from models.nanoguard.network import LENGTH

__all__ = ["Encoding", "published", "tokenizer"]

BEGIN, PAD = "<|reserved_0|>", "<|reserved_1|>"


class Encoding:
    """What was pickled: its state, without a line of its code."""

    pat_str: str
    mergeable_ranks: dict[bytes, int]
    special_tokens: dict[str, int]

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.pat_str, self.mergeable_ranks = state["pat_str"], state["mergeable_ranks"]
        self.special_tokens = state["special_tokens"]


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) != ("tiktoken.core", "Encoding"):
            raise pickle.UnpicklingError(f"{module}.{name} has no business in a tokenizer")
        return Encoding


def published() -> Encoding:
    """The tokenizer of the package."""
    found = _Reader(io.BytesIO(member("metatronnanoguard", "nanoguard/assets/tokenizer.pkl"))).load()
    assert isinstance(found, Encoding), "the package is pinned"
    return found


def tokenizer(encoding: Encoding) -> str:
    """The same as a `tokenizer.json`: special tokens are no words of a text, and every text is padded."""
    letters = _letters()
    spelt = {"".join(letters[byte] for byte in word): rank for word, rank in encoding.mergeable_ranks.items()}
    begin, pad = encoding.special_tokens[BEGIN], encoding.special_tokens[PAD]
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": {
                "strategy": {"Fixed": LENGTH},
                "direction": "Right",
                "pad_to_multiple_of": None,
                "pad_id": pad,
                "pad_type_id": 0,
                "pad_token": PAD,
            },
            "added_tokens": [],
            "normalizer": None,
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [
                    {
                        "type": "Split",
                        "pattern": {"Regex": encoding.pat_str},
                        "behavior": "Removed",
                        "invert": True,
                    },
                    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
                ],
            },
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": BEGIN, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
                "special_tokens": {BEGIN: {"id": BEGIN, "ids": [begin], "tokens": [BEGIN]}},
            },
            "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": True,
                "vocab": {**spelt, **encoding.special_tokens},
                "merges": [
                    [_spell(left, letters), _spell(right, letters)]
                    for left, right in _merges(encoding.mergeable_ranks)
                ],
            },
        },
        ensure_ascii=False,
    )


def _spell(word: bytes, letters: dict[int, str]) -> str:
    return "".join(letters[byte] for byte in word)


def _merges(ranks: dict[bytes, int]) -> Iterator[tuple[bytes, bytes]]:
    """Which two tokens each token was made of, in the order of their making: those that are left before it is."""
    for word, rank in sorted(ranks.items(), key=lambda item: item[1]):
        parts = [bytes([byte]) for byte in word]
        while len(parts) > 2:
            known = [ranks.get(left + right, rank) for left, right in itertools.pairwise(parts)]
            place = min(range(len(known)), key=known.__getitem__)
            assert known[place] < rank, f"{word!r} is not made of two"
            parts[place : place + 2] = [parts[place] + parts[place + 1]]
        if len(parts) == 2:
            yield parts[0], parts[1]


def _letters() -> dict[int, str]:
    """The printable letter that stands for each byte in byte-level vocabularies."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + place) for place, byte in enumerate(others)}
