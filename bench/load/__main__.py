"""`python -m bench.load`: does the work on stdin, writes what it saw to stdout."""

import gc
import sys

import msgspec
import uvloop

from bench.load.generator import generate
from bench.load.work import Work

if __name__ == "__main__":
    # Lives for seconds and makes no cycles: a collection would only be seen as somebody else's latency.
    gc.disable()
    sample = uvloop.run(generate(msgspec.json.decode(sys.stdin.buffer.read(), type=Work)))
    sys.stdout.buffer.write(msgspec.json.encode(sample))
