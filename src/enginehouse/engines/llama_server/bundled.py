"""The bundled engine: llama.cpp's server in a child process of its own, started with llama-server's flags.

Run as `python -m enginehouse.engines.llama_server.bundled FLAGS`. The parent holds the other end of standard
input: the first line it writes is the API key, and when the pipe closes the child is gone at once, whatever
happened to the parent. When the model is loaded one JSON line on standard output tells the address.
"""

import argparse
import ctypes
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, NoReturn

from enginehouse.engines.llama_server.flags import UnknownFlag, parse_flags

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1
_WRITING = 0.3
"""Seconds for the thread in which llama.cpp writes its log, and with it why a model does not load."""

CPU_BATCH = 64
"""Tokens read in one step without a GPU. Between steps a request can be cancelled: on two slow cores 64 tokens of
a small model are about 0.2 s, and reading in larger steps gains less than a tenth."""


def main(argv: Sequence[str]) -> NoReturn:
    """Serve until told to stop; exit codes are 0 after SIGTERM, 1 when the model does not load, 2 for bad flags."""
    if "--list-devices" in argv:
        _list_devices()
    _die_with_the_parent()
    key = sys.stdin.readline().strip()
    threading.Thread(target=_exit_when_input_ends, daemon=True).start()
    try:
        flags = parse_flags(argv)
    except UnknownFlag as error:
        _fail(2, error.message)
    server = _start(flags, key)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    print(json.dumps({"event": "ready", "address": server.listening_address}), flush=True)  # noqa: T201
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    del server
    os._exit(0)  # llama.cpp has stopped; its global destructors have nothing left to do and may hang


def _list_devices() -> NoReturn:
    """Tell what it can run on, as llama.cpp's own server does."""
    llama: Any = import_module("xllamacpp")
    print("Available devices:")  # noqa: T201
    for device in llama.get_device_info():
        total, free = (int(device[name]) >> 20 for name in ("memory_total", "memory_free"))
        print(f"  {device['name']}: {device['description']} ({total} MiB, {free} MiB free)")  # noqa: T201
    sys.exit(0)


def _start(flags: argparse.Namespace, key: str) -> Any:
    try:
        llama: Any = import_module("xllamacpp")
    except ImportError as error:
        _fail(1, f"the bundled engine is not installed ({error}): pip install 'enginehouse[local]'")
    params = llama.CommonParams()
    _apply(params, vars(flags), llama)
    params.api_keys = [key]
    try:
        return llama.Server(params)
    except (RuntimeError, ValueError) as error:
        time.sleep(_WRITING)
        _fail(1, str(error))


def _apply(params: Any, flags: Mapping[str, Any], llama: Any) -> None:
    params.ui = False
    params.n_batch = params.n_ubatch = _default_batch(flags, llama)
    for name, value in flags.items():
        if name in _PLAIN:
            setattr(params, _PLAIN[name], value)
        elif name in _SAMPLING:
            setattr(params.sampling, _SAMPLING[name], value)
        else:
            _SPECIAL[name](params, value, llama)


def _default_batch(flags: Mapping[str, Any], llama: Any) -> int:
    """Embeddings are computed in one step, so it must hold a whole text."""
    if flags.get("embedding") or flags.get("rerank"):
        return int(flags.get("ctx_size") or 2048)
    kinds = llama.ggml_backend_dev_type
    gpus = {kinds.GGML_BACKEND_DEVICE_TYPE_GPU, kinds.GGML_BACKEND_DEVICE_TYPE_IGPU}
    return 512 if any(device["type"] in gpus for device in llama.get_device_info()) else CPU_BATCH


_PLAIN = {
    "ctx_size": "n_ctx",
    "parallel": "n_parallel",
    "gpu_layers": "n_gpu_layers",
    "kv_unified": "kv_unified",
    "cache_ram": "cache_ram_mib",
    "swa_full": "swa_full",
    "main_gpu": "main_gpu",
    "no_kv_offload": "no_kv_offload",
    "batch_size": "n_batch",
    "ubatch_size": "n_ubatch",
    "rope_freq_base": "rope_freq_base",
    "rope_freq_scale": "rope_freq_scale",
    "jinja": "use_jinja",
    "chat_template": "chat_template",
    "context_shift": "ctx_shift",
    "predict": "n_predict",
    "port": "port",
    "metrics": "endpoint_metrics",
    "slots": "endpoint_slots",
    "cont_batching": "cont_batching",
    "verbosity": "verbosity",
    "embedding": "embedding",
}

_SAMPLING = {
    "seed": "seed",
    "temp": "temp",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repeat_penalty": "penalty_repeat",
}


def _set_rerank(params: Any, _: bool, llama: Any) -> None:
    params.embedding = True
    params.pooling_type = llama.llama_pooling_type.LLAMA_POOLING_TYPE_RANK


def _set_template_file(params: Any, path: str, _: Any) -> None:
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - one read, before anything else is loaded
        params.chat_template = file.read()


def _set_flash_attention(params: Any, value: str, llama: Any) -> None:
    word = {"on": "ENABLED", "off": "DISABLED", "auto": "AUTO"}[value]
    params.flash_attn_type = getattr(llama.llama_flash_attn_type, f"LLAMA_FLASH_ATTN_TYPE_{word}")


def _set_tensor_split(params: Any, shares: Sequence[float], _: Any) -> None:
    rest = len(params.tensor_split) - len(shares)
    params.tensor_split = [*shares, *[0.0] * rest]


def _set_load_mode(word: str) -> "_Setter":
    def setter(params: Any, _: bool, llama: Any) -> None:
        params.load_mode = getattr(llama.llama_load_mode, f"LLAMA_LOAD_MODE_{word}")

    return setter


def _set_cache_type(attribute: str) -> "_Setter":
    def setter(params: Any, value: str, llama: Any) -> None:
        setattr(params, attribute, getattr(llama.ggml_type, f"GGML_TYPE_{value.upper()}"))

    return setter


def _set_enum(attribute: str, enum: str, prefix: str) -> "_Setter":
    def setter(params: Any, value: str, llama: Any) -> None:
        setattr(params, attribute, getattr(getattr(llama, enum), prefix + value.upper().replace("-", "_")))

    return setter


def _set_on(path: str, attribute: str, fixed: Any = None) -> "_Setter":
    def setter(params: Any, value: Any, _: Any) -> None:
        setattr(getattr(params, path) if path else params, attribute, value if fixed is None else fixed)

    return setter


def _ignore(_: Any, __: Any, ___: Any) -> None:
    """The house decides the key; a user's own is not needed."""


_Setter = Callable[[Any, Any, Any], None]

_SPECIAL: Mapping[str, _Setter] = {
    "model": _set_on("model", "path"),
    "mmproj": _set_on("mmproj", "path"),
    "alias": lambda params, value, _: setattr(params, "model_alias", {value}),
    "rerank": _set_rerank,
    "pooling": _set_enum("pooling_type", "llama_pooling_type", "LLAMA_POOLING_TYPE_"),
    "cache_type_k": _set_cache_type("cache_type_k"),
    "cache_type_v": _set_cache_type("cache_type_v"),
    "mlock": _set_load_mode("MMAP_MLOCK"),
    "no_mmap": _set_load_mode("NONE"),
    "split_mode": _set_enum("split_mode", "llama_split_mode", "LLAMA_SPLIT_MODE_"),
    "tensor_split": _set_tensor_split,
    "threads": _set_on("cpuparams", "n_threads"),
    "threads_batch": _set_on("cpuparams_batch", "n_threads"),
    "flash_attn": _set_flash_attention,
    "no_warmup": _set_on("", "warmup", False),
    "rope_scaling": _set_enum("rope_scaling_type", "llama_rope_scaling_type", "LLAMA_ROPE_SCALING_TYPE_"),
    "chat_template_file": _set_template_file,
    "reasoning_format": _set_enum("reasoning_format", "common_reasoning_format", "COMMON_REASONING_FORMAT_"),
    "verbose": _set_on("", "verbosity", 5),
    "timeout": _set_on("", "timeout_read"),
    "host": lambda params, value, _: setattr(params, "hostnames", [value]),
    "api_key": _ignore,
}


def _die_with_the_parent() -> None:
    """Ask Linux to kill us when the parent dies; elsewhere the end of standard input does it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _exit_when_input_ends() -> None:
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)


def _fail(code: int, message: str) -> NoReturn:
    print(message, file=sys.stderr, flush=True)  # noqa: T201
    os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
