"""`python -m bench.mock`: the mock upstream as a process."""

import argparse
import asyncio
import signal

import uvloop

from bench.mock.manner import Manner
from bench.mock.server import serve


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.mock", description=Manner.__doc__)
    parser.add_argument("--port", type=int, default=9000, help="TCP port on loopback; 0 takes a free one")
    parser.add_argument("--chunks", type=int, default=16, help="content chunks of a stream")
    parser.add_argument("--interval-ms", type=float, default=0, help="time between two writes of a stream")
    parser.add_argument("--delay-ms", type=float, default=0, help="time before an answer's first byte")
    parser.add_argument("--burst", type=int, default=1, help="chunks in one write")
    return parser.parse_args()


async def _run(port: int, manner: Manner) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serve(port, manner) as mock:
        print(f"mock upstream on {mock.base_url}", flush=True)
        await stop.wait()


if __name__ == "__main__":
    arguments = vars(_arguments())
    uvloop.run(_run(arguments.pop("port"), Manner(**arguments)))
