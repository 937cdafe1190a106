"""`python -m bench.prototypes LETTER`: one measuring stick on uvicorn with httptools and uvloop."""

import argparse
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from typing import cast

import uvicorn
import uvloop
from starlette.types import ASGIApp

from bench.prototypes import PROTOTYPES

Application = Callable[[str], AbstractAsyncContextManager[ASGIApp]]


async def _serve(application: Application, port: int, upstream: str) -> None:
    async with application(upstream) as app:
        config = uvicorn.Config(
            app, port=port, http="httptools", ws="none", lifespan="off", access_log=False, log_level="warning"
        )
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.prototypes")
    parser.add_argument("letter", choices=PROTOTYPES)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True, help="base URL, with /v1")
    arguments = parser.parse_args()
    module = import_module(f"bench.prototypes.{PROTOTYPES[arguments.letter].module}")
    uvloop.run(_serve(cast("Application", module.application), arguments.port, arguments.upstream))
