"""What an engine can run on, asked of itself: a machine may have GPUs that its build knows nothing of."""

import asyncio
import re
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import Mapping, Sequence

import structlog

__all__ = ["lists_gpus"]

log = structlog.get_logger()

_PATIENCE = 30.0
"""Seconds; a driver that was not used for long may take some to wake."""

_GPU = re.compile(r"^\s*(CUDA|ROCm|HIP)\d+:", re.MULTILINE)


async def lists_gpus(command: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Whether the engine says that it can use a GPU; one that cannot be asked is taken to use what there is."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, env=dict(environ)
        )
    except OSError as error:
        log.warning("engine_not_asked", error=str(error))
        return True
    try:
        async with asyncio.timeout(_PATIENCE):
            output, _ = await process.communicate()
    except TimeoutError:
        log.warning("engine_not_asked", error="it did not answer")
        return True
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode != 0 or _GPU.search(output.decode("utf-8", "replace")) is not None
