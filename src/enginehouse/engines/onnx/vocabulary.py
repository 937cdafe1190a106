"""A model's own tokens: text to ids, ids to what the model reads."""

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct
from tokenizers import Tokenizer

from enginehouse.engines.onnx.folder import OnnxFolder
from enginehouse.errors import InvalidRequest, ModelLoadFailed

__all__ = ["Pair", "Text", "Vocabulary"]

PAD_TOKENS = ("[PAD]", "<pad>", "<|endoftext|>")
LARGEST_ID = 2**32 - 1


class Text(Struct, frozen=True):
    """One text as the model reads it: special tokens added, cut to the model's limit."""

    ids: list[int]
    truncated: bool


class Pair(Struct, frozen=True):
    """A query and a document as the model reads them together; `types` says whose each token is."""

    ids: list[int]
    types: list[int]
    truncated: bool


class Vocabulary:
    """A tokenizer without its own padding and truncation: both are decided here, where they can be told.

    Special tokens are the same before and after every single text, so they are found once, and lists of the
    caller's own ids are framed exactly as texts are.
    """

    def __init__(self, tokenizer: Tokenizer, *, max_length: int, pad_id: int) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer = tokenizer
        self.max_length = max_length
        self.prefix, self.suffix = frame(tokenizer)
        self.room = max_length - len(self.prefix) - len(self.suffix)
        if self.room < 1:
            raise ModelLoadFailed(f"A context length of {max_length} leaves no room beside the special tokens.")
        self.pad_id = pad_id

    @classmethod
    def load(cls, folder: OnnxFolder, max_length: int) -> "Vocabulary":
        """Read `tokenizer.json`. Blocks for some tens of milliseconds.

        Raises:
            ModelLoadFailed: the file is no tokenizer.
        """
        tokenizer = read_tokenizer(folder.tokenizer)
        return cls(tokenizer, max_length=max_length, pad_id=find_pad(tokenizer, folder))

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts, without special tokens.

        Raises:
            InvalidRequest: a text is no valid Unicode (a lone surrogate).
        """
        try:
            # The batch form even for one text: it is the one that lets other threads run meanwhile.
            encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        except TypeError as error:
            raise InvalidRequest("The input holds text that is not valid Unicode.", param="input") from error
        return [encoding.ids for encoding in encodings]

    def windows(self, ids: list[int], most: int) -> tuple[list[list[int]], bool]:
        """A text of any length as framed pieces that the model can read, and whether any is missing.

        There is at least one. Neighbours overlap by a quarter, so that what lies across a border is whole in one of
        them. Where there are more than `most`, those in the middle are left out.
        """
        step = max(self.room - self.room // 4, 1)
        count = 1 + max(-(-(len(ids) - self.room) // step), 0)
        numbers = range(count) if count <= most else [*range(most - most // 2), *range(count - most // 2, count)]
        pieces = (ids[number * step : number * step + self.room] for number in numbers)
        framed = [[*self.prefix, *piece, *self.suffix] or [self.pad_id] for piece in pieces]
        return framed, count > most

    def known(self, position: int, ids: Sequence[int]) -> list[int]:
        """The ids, each checked; `position` is where they stand in the request.

        Raises:
            InvalidRequest: an id the model does not know.
        """
        for token in ids:
            if not 0 <= token <= LARGEST_ID or self._tokenizer.id_to_token(token) is None:
                raise InvalidRequest(
                    f"input[{position}] holds the token id {token}, which this model does not know "
                    f"(it has {self._tokenizer.get_vocab_size()} tokens).",
                    param="input",
                )
        return list(ids)

    def framed(self, position: int, ids: list[int]) -> Text:
        """Ids with the special tokens around them, cut to the model's limit.

        Raises:
            InvalidRequest: nothing is left to read.
        """
        framed = [*self.prefix, *ids[: self.room], *self.suffix]
        if not framed:
            raise InvalidRequest(f"input[{position}] is empty; this model needs at least one token.", param="input")
        return Text(framed, len(ids) > self.room)

    def pairs(self, query: str, documents: Sequence[str]) -> list[Pair]:
        """The query with each document, special tokens around and between them, cut to the model's limit.

        Raises:
            InvalidRequest: a text is no valid Unicode, or the model's limit has no room for pairs.
        """
        form = pair_form(self._tokenizer)
        room = self.max_length - form.length
        if room < 2:
            raise InvalidRequest(
                "This model reads too few tokens at once for a query and a document.", param="query"
            )
        asked, *answers = self.ids([query, *documents])
        return [form.filled(asked, ids, room) for ids in answers]


class PairForm(Struct, frozen=True):
    """What a tokenizer writes around two texts: ids and types before, between and after them, and types of both."""

    before: tuple[list[int], list[int]]
    between: tuple[list[int], list[int]]
    after: tuple[list[int], list[int]]
    types: tuple[int, int]

    @property
    def length(self) -> int:
        """Tokens that are no text."""
        return sum(len(ids) for ids, _ in (self.before, self.between, self.after))

    def filled(self, first: list[int], second: list[int], room: int) -> Pair:
        """Two texts in so many tokens; when that is too few, the longer one is cut, and neither below half."""
        kept = first[: max(room // 2, room - len(second))]
        rest = second[: room - len(kept)]
        return Pair(
            ids=[*self.before[0], *kept, *self.between[0], *rest, *self.after[0]],
            types=[
                *self.before[1],
                *[self.types[0]] * len(kept),
                *self.between[1],
                *[self.types[1]] * len(rest),
                *self.after[1],
            ],
            truncated=len(kept) + len(rest) < len(first) + len(second),
        )


def pair_form(tokenizer: Tokenizer) -> PairForm:
    """Seen at a pair of short texts."""
    [encoding] = tokenizer.encode_batch([("a", "a")])
    whose = [-1 if number is None else number for number in encoding.sequence_ids]
    first, second = whose.index(0), whose.index(1)
    middle, last = len(whose) - whose[::-1].index(0), len(whose) - whose[::-1].index(1)
    ids, types = encoding.ids, encoding.type_ids

    def part(start: int, end: int | None) -> tuple[list[int], list[int]]:
        return ids[start:end], types[start:end]

    return PairForm(
        before=part(0, first),
        between=part(middle, second),
        after=part(last, None),
        types=(types[first], types[second]),
    )


def read_tokenizer(file: Path) -> Tokenizer:
    """The tokenizer of a file."""
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception for a file it cannot read
        raise ModelLoadFailed(f"{file.parent.name}/{file.name} is not a tokenizer: {error}") from error


def frame(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """The special ids before and after a text."""
    [encoding] = tokenizer.encode_batch(["a"])
    special = encoding.special_tokens_mask
    if 0 not in special:
        return encoding.ids, []
    first, last = special.index(0), len(special) - special[::-1].index(0)
    return encoding.ids[:first], encoding.ids[last:]


def find_pad(tokenizer: Tokenizer, folder: OnnxFolder) -> int:
    """The id that fills up a batch; masked, so any will do where the model has none of its own."""
    if folder.pad_id is not None:
        return folder.pad_id
    names = (folder.pad_token, *PAD_TOKENS) if folder.pad_token else PAD_TOKENS
    ids = (tokenizer.token_to_id(name) for name in names)
    return next((id_ for id_ in ids if id_ is not None), 0)
