"""Three real replicas on one real Redis and PostgreSQL, before an upstream that keeps a book of what it says."""

import asyncio
import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from typing import NamedTuple

import aiohttp
import jwt

from enginehouse.stores.sql import database_url, migrate, open_database
from tests.integration.loopback import Handler, Loopback
from tests.integration.postgres import Postgres
from tests.integration.redis_server import RedisServer
from tests.integration.service import Service

SECRET = "a-secret-that-all-of-them-know-and-nobody-else"
BOSS = "boss-of-them-all"
LEASE = 2.0
CAPPED = 40
CHAT = "/v1/chat/completions"


class Said(NamedTuple):
    """What the upstream said to one request; `whole` when it was all sent."""

    input: int
    output: int
    whole: bool


class Book(Loopback):
    """An OpenAI-compatible upstream. A question is a name, the words of its answer and the seconds between them.

    Attributes:
        said: by request id, every time it was asked.
        order: names in the order in which they came.
        most: by model, how many ran at once at the most.
    """

    def __init__(self):
        super().__init__(_Handler)
        self.said, self.order = defaultdict(list), []
        self.running, self.most = Counter(), Counter()
        self._lock = threading.Lock()

    @contextmanager
    def enters(self, model, name):
        with self._lock:
            self.order.append(name)
            self.running[model] += 1
            self.most[model] = max(self.most[model], self.running[model])
        try:
            yield
        finally:
            with self._lock:
                self.running[model] -= 1


class _Handler(Handler):
    def get(self):
        self.send_json({"data": []})

    def post(self):
        body = self.body()
        name, words, pause = body["messages"][-1]["content"].split(" ")
        usage = {"prompt_tokens": 3 + len(name), "completion_tokens": int(words)}
        usage["total_tokens"] = sum(usage.values())
        whole = False
        with self.owner.enters(body["model"], name), suppress(OSError):
            if body.get("stream"):
                self._stream(int(words), float(pause), usage)
            else:
                time.sleep(int(words) * float(pause))
                message = {"role": "assistant", "content": "w " * int(words)}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                self.send_json({"id": "x", "model": "theirs", "choices": [choice], "usage": usage})
            whole = True
        told = Said(usage["prompt_tokens"], usage["completion_tokens"], whole)
        self.owner.said[self.headers["X-Request-ID"]].append(told)

    def _stream(self, words, pause, usage):
        self.begin_stream()
        for _ in range(words):
            self._say({"delta": {"content": "w "}, "finish_reason": None})
            time.sleep(pause)
        self._say({"delta": {}, "finish_reason": "stop"})
        self.frame({"id": "x", "model": "theirs", "choices": [], "usage": usage})
        self.frame(b"[DONE]")

    def _say(self, choice):
        self.frame({"id": "x", "model": "theirs", "choices": [{"index": 0, **choice}]})


class Asked(NamedTuple):
    """How one request of the load ended, as its caller saw it."""

    id: str
    user: str
    began: float
    ended: float
    whole: bool
    saw: str


class House:
    """The replicas, what they stand on, and the book."""

    def __init__(self, redis, postgres, database, book, replicas):
        self.redis, self.postgres, self.database = redis, postgres, database
        self.book, self.replicas = book, replicas
        self.asked: list[Asked] = []
        self._numbers = count()

    def as_user(self, user, tier="free"):
        """Headers of a user."""
        token = jwt.encode({"sub": user, "tier": tier, "exp": time.time() + 3600}, SECRET, "HS256")
        return {"Authorization": f"Bearer {token}"}

    async def ask(self, client, url, user, question, *, model="many", stream=False, tier="free"):
        """One request, noted in `asked`; only what a caller sees counts."""
        number = next(self._numbers)
        id_, began = f"{user}-{number}", time.monotonic()
        body = {"model": model, "messages": [{"role": "user", "content": f"{id_} {question}"}], "stream": stream}
        headers = {**self.as_user(user, tier), "X-Request-ID": id_}
        try:
            async with client.post(url + CHAT, json=body, headers=headers) as answer:
                said = await answer.read()
                whole = answer.status == 200 and (
                    said.endswith(b"data: [DONE]\n\n") if stream else said[-1:] == b"}"
                )
                saw = "whole" if whole else f"{answer.status} {said[-160:]!r}"
        except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
            whole, saw = False, repr(error)[:160]
        self.asked.append(Asked(id_, user, began, time.monotonic(), whole, saw))
        return saw

    def boss(self, at, path, body=None, method=None):
        """What a replica answers its admin."""
        return self.replicas[at].call(path, body, {"X-API-Key": BOSS}, method=method)

    def line(self, at, model):
        return self.boss(at, "/v1/queue/stats")[1]["queues"][model]

    def well(self):
        """Whether every replica is healthy, and in the shared line."""
        with suppress(OSError, KeyError, TypeError):
            return all(
                self.boss(at, "/health")[1]["status"] == "healthy" and self.line(at, "four")["scope"] == "shared"
                for at in range(3)
            )
        return False

    def records(self):
        """Every usage record as id, user, outcome, tokens in and out; and the sums of all of them."""

        async def read():
            async with open_database(database_url(self.database, self.redis.folder)) as opened:
                rows = "SELECT request_id, user_id, outcome, input_tokens, output_tokens, cache FROM usage_records"
                records = await opened.read(lambda c: [tuple(row) for row in c.exec_driver_sql(rows)])
                waiting = "SELECT count(*) FROM usage_unsummed"
                return records, await opened.read(lambda c: c.exec_driver_sql(waiting).scalar())

        return asyncio.run(read())


@contextmanager
def open_house(folder):
    """All of it, running."""
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(4))
        (folder / "redis").mkdir()
        redis = RedisServer(folder / "redis", "--appendonly", "yes", "--appendfsync", "always")
        redis.folder = folder
        postgres = pool.submit(stack.enter_context, Postgres())
        stack.enter_context(redis)
        book = stack.enter_context(Book())
        database = postgres.result().new_database()
        asyncio.run(_migrate(database, folder))
        replicas = []
        for name in "abc":
            (folder / name).mkdir()
            replicas.append(Service(folder / name, _config(folder / name, redis, database, book)))
            stack.push(replicas[-1])
        list(pool.map(Service.start, replicas))
        yield House(redis, postgres.result(), database, book, replicas)


async def _migrate(database, folder):
    async with open_database(database_url(database, folder)) as opened:
        await migrate(opened)


def _config(folder, redis, database, book):
    def remote(slots):
        return {"engine": "openai", "base_url": book.url, "slots": slots, "kind": "chat"}

    return {
        "data_dir": str(folder),
        "default_models": False,
        "cache": {"enabled": True, "semantic": {"enabled": False}},
        "log": {"format": "json"},
        "auth": {"jwt_secret": SECRET, "key_secret": "k" * 40, "api_keys": [BOSS]},
        "limits": {
            "tiers": {"free": "unlimited", "capped": f"{CAPPED}/hour", "pair": "2 at once"},
            "on_store_failure": "deny",
        },
        "stores": {
            "database_url": database,
            "redis_url": redis.url,
            "enable_queue": True,
            "queue_lease": LEASE,
            "queue_share": 0.34,
        },
        "registration": {"base_urls": ["*"]},
        "models": {"one": remote(1), "four": remote(4), "many": remote(64)},
    }
