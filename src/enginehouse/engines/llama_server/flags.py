"""The llama-server flags that the bundled engine understands, spelt as llama.cpp spells them."""

import argparse
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import NoReturn

from enginehouse.errors import InvalidRequest

__all__ = ["UnknownFlag", "parse_flags", "understood_flags"]

CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")


class UnknownFlag(InvalidRequest):
    """A flag the bundled engine does not know, or a value it cannot take."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UnknownFlag(f"llama-server flags: {message}")


def parse_flags(flags: Sequence[str]) -> argparse.Namespace:
    """The flags as attributes; those that were not given are absent.

    Raises:
        UnknownFlag: names the flag and the nearest one that exists.
    """
    parser = _parser()
    found, unknown = parser.parse_known_args([*flags])
    if unknown:
        known = [option for action in parser._actions for option in action.option_strings]  # noqa: SLF001
        near = get_close_matches(unknown[0].split("=")[0], known, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UnknownFlag(
            f"The bundled engine does not know the flag {unknown[0]!r}.{hint} "
            "Set engines.llama_server.path to your own llama-server to use all of its flags."
        )
    return found


def understood_flags(flags: Sequence[str]) -> Mapping[str, object]:
    """What can be understood of flags for a binary that may have others; nothing when a value is wrong."""
    try:
        return vars(_parser().parse_known_args([*flags])[0])
    except UnknownFlag:
        return {}


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="llama-server", allow_abbrev=False, add_help=False, argument_default=argparse.SUPPRESS)
    for group in (_model_flags, _memory_flags, _compute_flags, _prompt_flags, _server_flags):
        group(parser)
    return parser


def _model_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-m", "--model")
    parser.add_argument("-a", "--alias")
    parser.add_argument("-mm", "--mmproj")
    parser.add_argument("--embedding", "--embeddings", action="store_true")
    parser.add_argument("--rerank", "--reranking", action="store_true")
    parser.add_argument("--pooling", choices=("none", "mean", "cls", "last", "rank"))


def _memory_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-c", "--ctx-size", type=int)
    parser.add_argument("-np", "--parallel", type=int)
    parser.add_argument("-ngl", "--gpu-layers", "--n-gpu-layers", type=_layers)
    parser.add_argument("-ctk", "--cache-type-k", choices=CACHE_TYPES)
    parser.add_argument("-ctv", "--cache-type-v", choices=CACHE_TYPES)
    parser.add_argument("-kvu", "--kv-unified", action="store_true")
    parser.add_argument("-cram", "--cache-ram", type=int)
    parser.add_argument("--mlock", action="store_true")
    parser.add_argument("--no-mmap", action="store_true")
    parser.add_argument("--swa-full", action="store_true")
    parser.add_argument("-sm", "--split-mode", choices=("none", "layer", "row"))
    parser.add_argument("-mg", "--main-gpu", type=int)
    parser.add_argument("-ts", "--tensor-split", type=_shares)
    parser.add_argument("-nkvo", "--no-kv-offload", action="store_true")


def _compute_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-t", "--threads", type=int)
    parser.add_argument("-tb", "--threads-batch", type=int)
    parser.add_argument("-b", "--batch-size", type=int)
    parser.add_argument("-ub", "--ubatch-size", type=int)
    parser.add_argument("-fa", "--flash-attn", nargs="?", const="on", choices=("on", "off", "auto"))
    parser.add_argument("--no-warmup", action="store_true")
    parser.add_argument("--rope-scaling", choices=("none", "linear", "yarn"))
    parser.add_argument("--rope-freq-base", type=float)
    parser.add_argument("--rope-freq-scale", type=float)


def _prompt_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--jinja", action=argparse.BooleanOptionalAction)
    parser.add_argument("--chat-template")
    parser.add_argument("--chat-template-file")
    parser.add_argument("--reasoning-format", choices=("auto", "none", "deepseek", "deepseek-legacy"))
    parser.add_argument("--context-shift", action=argparse.BooleanOptionalAction)
    parser.add_argument("-n", "--predict", "--n-predict", type=int)
    parser.add_argument("-s", "--seed", type=int)
    parser.add_argument("--temp", type=float)
    parser.add_argument("--top-k", type=int)
    parser.add_argument("--top-p", type=float)
    parser.add_argument("--min-p", type=float)
    parser.add_argument("--repeat-penalty", type=float)


def _server_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--api-key")
    parser.add_argument("--metrics", action="store_true")
    parser.add_argument("--slots", action=argparse.BooleanOptionalAction)
    parser.add_argument("-cb", "--cont-batching", action=argparse.BooleanOptionalAction)
    parser.add_argument("-lv", "--verbosity", type=int)
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.add_argument("-to", "--timeout", type=int)


def _shares(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.replace("/", ",").split(","))


def _layers(text: str) -> int:
    return -1 if text in {"auto", "all"} else int(text)
