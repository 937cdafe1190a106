"""What an ONNX model folder says of itself: which file is the model, how long a text it reads, how it pools.

The layout is the Hugging Face one: `model.onnx` (or `onnx/model.onnx`, or a quantised sibling) and
`tokenizer.json` must be there; `config.json`, `tokenizer_config.json`, `sentence_bert_config.json`,
`modules.json` and `1_Pooling/config.json` are read when they are.
"""

from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from enginehouse.errors import ModelLoadFailed
from enginehouse.types import Kind

__all__ = ["OnnxFolder", "Pooling", "Problem", "is_onnx_folder", "read_folder"]

DEFAULT_MAX_LENGTH = 512
"""Tokens a text may hold when no file says: what BERT and most of its kin were trained with."""

ENDLESS = 1_000_000
"""`tokenizer_config.json` writes 1e30 for "no limit"; nothing at or above this is taken for one."""

OFFSET_POSITIONS = frozenset({"roberta", "xlm-roberta", "camembert", "mpnet", "longformer"})
"""Architectures that count positions from behind the padding id, so that a few of them are never used."""

PLAIN_MODULES = frozenset({"Transformer", "Pooling", "Normalize"})
"""Sentence-transformers modules that run here or are part of `model.onnx`."""


class Pooling(StrEnum):
    """How token vectors become one text vector; several are laid end to end in this order."""

    CLS = "cls"
    MAX = "max"
    MEAN = "mean"
    MEAN_SQRT_LEN = "mean_sqrt_len_tokens"
    WEIGHTED_MEAN = "weightedmean"
    LAST = "lasttoken"


class Problem(StrEnum):
    """What the scores of a classifier mean, in the words of `config.json`."""

    ONE_LABEL = "single_label_classification"
    """Exactly one label fits: softmax."""
    ANY_LABELS = "multi_label_classification"
    """Each label fits or does not: sigmoid."""
    NUMBER = "regression"
    """The output is a number; we make nothing of it."""


class OnnxFolder(Struct, frozen=True, kw_only=True):
    """One folder, read and understood."""

    path: Path
    model: Path
    tokenizer: Path
    kind: Kind
    max_length: int
    """Tokens a text may hold, special tokens included."""
    pooling: tuple[Pooling, ...]
    pad_id: int | None = None
    pad_token: str | None = None
    architecture: str | None = None
    embedding_size: int | None = None
    labels: tuple[str, ...] = ()
    problem: Problem | None = None
    """What the scores mean; None when the folder does not say."""
    neutral: str | None = None
    """The label that stands for "nothing of the kind", where the folder names one."""
    threshold: float | None = None
    """From which probability of anything else on its makers advise to act, where they say so."""
    extra_modules: tuple[str, ...] = ()
    """Sentence-transformers modules after pooling that are not in the ONNX file's own layers."""


class Config(Struct):
    """The keys of `config.json` that matter here."""

    model_type: str | None = None
    architectures: list[str] | None = None
    hidden_size: int | None = None
    dim: int | None = None
    d_model: int | None = None
    max_position_embeddings: int | None = None
    pad_token_id: int | None = None
    id2label: dict[str, str | int] | None = None
    problem_type: Problem | None = None
    neutral_label: str | None = None
    attack_threshold: float | None = None


class AddedToken(Struct):
    """A token written as a record."""

    content: str


class TokenizerConfig(Struct):
    """The keys of `tokenizer_config.json` that matter here."""

    model_max_length: float | None = None
    pad_token: str | AddedToken | None = None


class SentenceConfig(Struct):
    """The key of `sentence_bert_config.json` that matters here."""

    max_seq_length: int | None = None


class Truncation(Struct):
    """Where `tokenizer.json` cuts."""

    max_length: int


class Padding(Struct):
    """How `tokenizer.json` fills up."""

    pad_id: int
    pad_token: str


class TokenizerFile(Struct):
    """The head of `tokenizer.json`; its vocabulary is skipped, not read."""

    truncation: Truncation | None = None
    padding: Padding | None = None


class Module(Struct):
    """One step of a sentence-transformers pipeline."""

    type: str
    path: str = ""

    @property
    def name(self) -> str:
        """The class, without its package."""
        return self.type.rpartition(".")[2]


class PoolingConfig(Struct):
    """`1_Pooling/config.json`, in the form of one switch a mode or of the modes' names."""

    pooling_mode: str | list[str] | None = None
    pooling_mode_cls_token: bool = False
    pooling_mode_max_tokens: bool = False
    pooling_mode_mean_tokens: bool = False
    pooling_mode_mean_sqrt_len_tokens: bool = False
    pooling_mode_weightedmean_tokens: bool = False
    pooling_mode_lasttoken: bool = False

    def modes(self) -> tuple[Pooling, ...]:
        """The modes that are on, in the order their vectors are laid end to end."""
        if self.pooling_mode is not None:
            names = [self.pooling_mode] if isinstance(self.pooling_mode, str) else self.pooling_mode
            return tuple(Pooling(name) for name in names)
        switches = {
            Pooling.CLS: self.pooling_mode_cls_token,
            Pooling.MAX: self.pooling_mode_max_tokens,
            Pooling.MEAN: self.pooling_mode_mean_tokens,
            Pooling.MEAN_SQRT_LEN: self.pooling_mode_mean_sqrt_len_tokens,
            Pooling.WEIGHTED_MEAN: self.pooling_mode_weightedmean_tokens,
            Pooling.LAST: self.pooling_mode_lasttoken,
        }
        return tuple(mode for mode, on in switches.items() if on)


def is_onnx_folder(path: Path) -> bool:
    """Whether the folder holds an ONNX model, complete or not."""
    return any(any(place.glob("*.onnx")) for place in (path, path / "onnx"))


def read_folder(path: Path) -> OnnxFolder:
    """Read a model folder's JSON files. Blocks on the disk for a few milliseconds.

    Raises:
        ModelLoadFailed: a file that must be there is missing, or one cannot be understood.
    """
    tokenizer = path / "tokenizer.json"
    model = model_file(path)
    if not tokenizer.is_file():
        raise ModelLoadFailed(
            f"{path.name} holds no tokenizer.json; an ONNX model folder needs it beside the model."
        )
    config = read(path / "config.json", Config) or Config()
    tokenizer_config = read(path / "tokenizer_config.json", TokenizerConfig) or TokenizerConfig()
    tokenizer_file = read(tokenizer, TokenizerFile) or TokenizerFile()
    sentence = read(path / "sentence_bert_config.json", SentenceConfig) or SentenceConfig()
    modules = read(path / "modules.json", list[Module]) or []
    padding = tokenizer_file.padding
    return OnnxFolder(
        path=path,
        model=model,
        tokenizer=tokenizer,
        kind=kind_of(config),
        max_length=limit(sentence, tokenizer_config, config, tokenizer_file),
        pooling=pooling_of(path, modules),
        pad_id=padding.pad_id if padding else config.pad_token_id,
        pad_token=pad_token_of(tokenizer_config),
        architecture=config.model_type,
        embedding_size=config.hidden_size or config.dim or config.d_model,
        labels=labels_of(config),
        problem=config.problem_type,
        neutral=config.neutral_label,
        threshold=config.attack_threshold,
        extra_modules=tuple(module.name for module in modules if module.name not in PLAIN_MODULES),
    )


def model_file(path: Path) -> Path:
    """The model of a folder: `model.onnx`, else `model_quantized.onnx`, else the only one there is."""
    for name in ("model.onnx", "model_quantized.onnx"):
        for place in (path, path / "onnx"):
            if (place / name).is_file():
                return place / name
    found = sorted(path.glob("*.onnx")) or sorted((path / "onnx").glob("*.onnx"))
    if len(found) == 1:
        return found[0]
    if not found:
        raise ModelLoadFailed(f"{path.name} holds no model.onnx (nor onnx/model.onnx).")
    names = ", ".join(file.name for file in found)
    raise ModelLoadFailed(f"{path.name} holds several models ({names}); name one of them model.onnx.")


T = TypeVar("T")


def read(file: Path, shape: type[T]) -> T | None:
    """A JSON file in the given shape; None when there is none."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=shape)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, msgspec.MsgspecError) as error:
        raise ModelLoadFailed(f"{file.parent.name}/{file.name} cannot be read: {error}") from error


def limit(
    sentence: SentenceConfig, tokenizer_config: TokenizerConfig, config: Config, tokenizer: TokenizerFile
) -> int:
    """Tokens a text may hold: what the publisher states, never more than the model has positions."""
    stated = sentence.max_seq_length or finite(tokenizer_config.model_max_length)
    if stated is None and tokenizer.truncation is not None:
        stated = tokenizer.truncation.max_length
    limits = [length for length in (stated, positions(config)) if length is not None and length > 0]
    return min(limits, default=DEFAULT_MAX_LENGTH)


def finite(length: float | None) -> int | None:
    """The length, unless it stands for "no limit"."""
    return int(length) if length is not None and length < ENDLESS else None


def positions(config: Config) -> int | None:
    """Positions a text can use."""
    if config.max_position_embeddings is None:
        return None
    if config.model_type in OFFSET_POSITIONS:
        padding = 1 if config.pad_token_id is None else config.pad_token_id
        return config.max_position_embeddings - padding - 1
    return config.max_position_embeddings


def pooling_of(path: Path, modules: list[Module]) -> tuple[Pooling, ...]:
    """The pooling the folder asks for; mean when it does not say."""
    place = next((module.path for module in modules if module.name == "Pooling"), "1_Pooling")
    try:
        config = read(path / place / "config.json", PoolingConfig)
        modes = config.modes() if config else ()
    except ValueError as error:
        raise ModelLoadFailed(f"{path.name}/{place}/config.json asks for an unknown pooling: {error}") from error
    return modes or (Pooling.MEAN,)


def pad_token_of(config: TokenizerConfig) -> str | None:
    """The padding token, however it is written."""
    return config.pad_token.content if isinstance(config.pad_token, AddedToken) else config.pad_token


def labels_of(config: Config) -> tuple[str, ...]:
    """Class names in the order of their numbers."""
    named = config.id2label or {}
    return tuple(str(named[key]) for key in sorted(named, key=lambda key: (len(key), key)))


def kind_of(config: Config) -> Kind:
    """A classification head with one output scores pairs, with several it classifies; all else embeds."""
    if config.problem_type in (Problem.ONE_LABEL, Problem.ANY_LABELS):
        return Kind.CLASSIFIER
    heads = [name for name in config.architectures or [] if name.endswith("ForSequenceClassification")]
    labels = labels_of(config)
    if heads:
        return Kind.RERANK if len(labels) == 1 else Kind.CLASSIFIER
    named = any(not label.startswith("LABEL_") for label in labels)
    return Kind.CLASSIFIER if named and not config.architectures else Kind.EMBEDDING
