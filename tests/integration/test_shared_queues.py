"""Two real services before one upstream, with one line between them in a real Redis."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPException
from itertools import count

import pytest

from tests.integration.loopback import Handler, Loopback
from tests.integration.redis_server import RedisServer
from tests.integration.service import Service

LEASE = 2.0
SLACK = 0.5
"""Seconds that a busy machine may take until a thing that has happened is seen."""
TICK = 0.02


class Upstream(Loopback):
    """An OpenAI-compatible server that keeps a book of who ran when.

    A question is a name and the seconds its answer takes; one without seconds ends when `let_go` is called. The
    part of the name before the dash says who sent it.
    """

    def __init__(self):
        super().__init__(_Handler)
        self._lock = threading.Lock()
        self.running = Counter()
        self.begin_book()

    def __exit__(self, *_):
        self.let_go()
        super().__exit__()

    def begin_book(self):
        """Forget who ran; who runs now still counts."""
        with self._lock:
            self.order, self._free = [], threading.Event()
            self.most, self.most_of = self.running.total(), Counter(self.running)

    def let_go(self):
        self._free.set()

    @contextmanager
    def enters(self, name):
        sender = name.partition("-")[0]
        with self._lock:
            self.order.append(name)
            self.running[sender] += 1
            self.most = max(self.most, self.running.total())
            self.most_of[sender] = max(self.most_of[sender], self.running[sender])
        try:
            yield
        finally:
            with self._lock:
                self.running[sender] -= 1

    def pauses(self, seconds):
        """Ticks until an answer is over."""
        free, ends = self._free, time.monotonic() + float(seconds or "inf")
        while time.monotonic() < ends and not free.wait(min(TICK, max(0.0, ends - time.monotonic()))):
            yield


class _Handler(Handler):
    def post(self):
        name, _, seconds = self.body()["messages"][-1]["content"].partition(" ")
        with suppress(OSError):  # the caller has hung up, or was killed
            with self.owner.enters(name):
                self.begin_stream()
                for _ in self.owner.pauses(seconds):
                    self._delta({"content": "."})
            self._delta({}, "stop")
            self.frame(b"[DONE]")

    def _delta(self, delta, reason=None):
        self.frame({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})


class House:
    """Two replicas, and threads in which callers wait for them."""

    def __init__(self, redis, upstream, replicas, pool):
        self.redis, self.upstream, self.replicas, self.pool = redis, upstream, replicas, pool

    def ask(self, at, model, name, seconds=""):
        """The status of a whole answer, some day; what was said instead; None when the replica died."""
        return self.pool.submit(self._status, at, model, f"{'ab'[at]}-{name} {seconds}".strip())

    def _status(self, at, model, content):
        body = {"model": model, "messages": [{"role": "user", "content": content}], "stream": True}
        try:
            status, said, _ = self.replicas[at].call("/v1/chat/completions", body)
        except (OSError, HTTPException):
            return None
        return status if "data: [DONE]" in said else said

    def line(self, at, model):
        return self.replicas[at].call("/v1/queue/stats")[1]["queues"][model]

    def stand(self, at, model, name, seconds=""):
        """Ask, and let the line grow by it before somebody else asks."""
        before = self.line(at, model)
        answer = self.ask(at, model, name, seconds)
        self.until(at, lambda: _crowd(self.line(at, model)) == _crowd(before) + 1)
        return answer

    def until(self, at, condition, seconds=10):
        return self.replicas[at].wait_until(condition, seconds)


def _crowd(line):
    return line["active"] + line["total"]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(tmp_path_factory.mktemp("redis")))
        upstream = stack.enter_context(Upstream())
        folders = [tmp_path_factory.mktemp(name) for name in "ab"]
        replicas = [Service(folder, _config(folder, redis, upstream)) for folder in folders]
        pool = stack.enter_context(ThreadPoolExecutor(64))
        for replica in replicas:
            stack.push(replica)
        list(pool.map(Service.start, replicas))
        yield House(redis, upstream, replicas, pool)
        upstream.let_go()


def _config(folder, redis, upstream):
    def remote(slots):
        return {"engine": "openai", "base_url": upstream.url, "slots": slots, "kind": "chat"}

    return {
        "data_dir": str(folder),
        "stores": {"redis_url": redis.url, "enable_queue": True, "queue_lease": LEASE, "queue_share": 0.5},
        "models": {"one": remote(1), "four": remote(4)},
    }


@pytest.fixture
def house(running):
    for replica in running.replicas:
        if replica.process.poll() is not None:
            replica.start()
    running.redis.client.flushall()
    running.upstream.begin_book()
    return running


def test_requests_start_in_the_order_they_came_to_either_replica(house):
    answers = [house.stand(0, "one", "holds")]
    places = [0, 1, 1, 0, 1, 0, 0, 0, 1, 1]
    answers += [house.stand(at, "one", number, 0.03) for number, at in enumerate(places)]
    for at in range(2):
        line = house.line(at, "one")
        assert (line["scope"], line["slots"], line["active"], line["total"]) == ("shared", 1, 1, 10)
    house.upstream.let_go()
    assert [answer.result() for answer in answers] == [200] * 11
    assert house.upstream.order == ["a-holds", *(f"{'ab'[at]}-{number}" for number, at in enumerate(places))]
    assert house.upstream.most == 1


def test_never_more_run_upstream_than_the_slots_however_many_come_at_once(house):
    answers = [house.ask(number % 2, "four", number, 0.05 + number % 3 / 50) for number in range(60)]
    assert {answer.result() for answer in answers} == {200}
    assert house.upstream.most == 4
    for at in range(2):
        house.until(at, lambda at=at: _crowd(house.line(at, "four")) == 0)
        assert house.line(at, "four")["served"] == 60


def test_what_a_killed_replica_held_is_free_within_the_lease(house):
    """Its waiting requests stand before those of the other, which has to wait for none of them."""
    lost = [house.stand(0, "one", name) for name in ("runs", "waits", "waits too")]
    answers = [house.stand(1, "one", name, 0.1) for name in ("first", "second")]
    time.sleep(LEASE)  # every lease has been renewed by now
    assert house.upstream.order == ["a-runs"]
    house.replicas[0].process.kill()
    house.replicas[0].process.wait()
    assert house.until(1, lambda: len(house.upstream.order) > 1) <= LEASE + SLACK
    assert [answer.result() for answer in [*lost, *answers]] == [None] * 3 + [200] * 2
    assert house.upstream.order == ["a-runs", "b-first", "b-second"]
    house.until(1, lambda: _crowd(house.line(1, "one")) == 0)


def test_a_replica_starts_without_redis_and_finds_it_later(running):
    """It is the one that was killed before, if that test has run."""
    running.replicas[0].__exit__()
    running.redis.stop()
    running.replicas[0].start()
    _expect(running, 0, status="degraded", redis="down", scope="alone", slots=2)
    assert running.ask(0, "four", "alone", 0.01).result() == 200
    running.redis.start()
    _expect(running, 0, status="healthy", redis="up", scope="shared", slots=4)
    assert running.ask(0, "four", "shared", 0.01).result() == 200


def test_without_redis_each_replica_goes_on_with_its_share_until_it_is_back(house):
    pids = [replica.process.pid for replica in house.replicas]
    with _load(house, "four") as statuses:
        house.until(0, lambda: len(statuses) > 20)
        house.redis.stop()
        for at in range(2):
            _expect(house, at, status="degraded", redis="down", scope="alone", slots=2)
        time.sleep(0.3)  # who ran already when Redis went has ended
        house.upstream.begin_book()
        time.sleep(1)
        assert house.upstream.most_of == {"a": 2, "b": 2}
        house.redis.start()
        for at in range(2):
            _expect(house, at, status="healthy", redis="up", scope="shared", slots=4)
        house.upstream.begin_book()
        time.sleep(2.5)  # replicas that come back wait up to two seconds for one another
        assert house.upstream.most == 4
    assert set(statuses) == {200}
    assert pids == [replica.process.pid for replica in house.replicas]
    for at in range(2):
        house.until(at, lambda at=at: _crowd(house.line(at, "four")) == 0)
        assert "Traceback" not in house.replicas[at].log()


def _expect(house, at, *, status, redis, scope, slots):
    def told():
        health = house.replicas[at].call("/health")[1]
        line = house.line(at, "four")
        return (health["status"], health["dependencies"]["redis"]["status"], line["scope"], line["slots"])

    house.until(at, lambda: told() == (status, redis, scope, slots), seconds=5)
    assert (house.replicas[at].call("/health")[1]["dependencies"]["redis"]["detail"] is None) == (redis == "up")


@contextmanager
def _load(house, model, callers=6):
    """So many callers at each replica who ask again as soon as they are answered; yields all statuses."""
    statuses, stop, numbers = [], threading.Event(), count()

    def call(at):
        while not stop.is_set():
            statuses.append(house.ask(at, model, next(numbers), 0.1).result())

    threads = [threading.Thread(target=call, args=(number % 2,)) for number in range(2 * callers)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        for thread in threads:
            thread.join()
