"""`kill -9` at any moment of loading: every acknowledged point is there afterwards as it was sent, and no other.

KILLS in the environment says how often; `make kills` does it 200 times. Every second time it is the index's own
process that is killed, else the one that asks it, and the index dies with that. Graphs are built all the while.
"""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.integration.vectors_nursery import operation

KILLS = int(os.environ.get("KILLS", "12"))


class Life:
    """One child, as its words tell it."""

    def __init__(self, nursery, folder, first):
        self.lines = nursery.stdout
        nursery.stdin.write(f"{folder} {first}\n".encode())
        nursery.stdin.flush()
        word, self.pid, self.index = self.words()
        assert word == "born"
        self.found = {}
        while (line := self.words())[1] != "all":
            assert line[0] == "has"
            assert line[1] not in self.found, "a point is there twice"
            self.found[line[1]] = line[2]
        assert [int(count) for count in line[2:]] == [len(self.found)] * 2
        self.tried, self.done = first - 1, first - 1

    def words(self):
        return self.lines.readline().decode().split()

    def read(self, operations):
        for _ in range(2 * operations):
            self.hear(self.words())

    def hear(self, words):
        if words[0] == "try":
            self.tried = int(words[1])
        elif words[0] == "done":
            self.done = int(words[1])

    def end(self, victim):
        os.kill(int(victim), signal.SIGKILL)
        while (words := self.words()) != ["dead"]:
            self.hear(words)


def after(points, number):
    put, delete = operation(number)
    return {id_: n for id_, n in points.items() if id_ not in delete} | dict.fromkeys(put, number)


@pytest.fixture
def nursery():
    command = [sys.executable, "-m", "tests.integration.vectors_nursery"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        yield running
        running.stdin.close()
        running.wait(10)


@pytest.mark.timeout(60 + KILLS * 5)
def test_what_was_acknowledged_survives_kill_9(tmp_path, nursery):
    chance = random.Random(11)
    points, number, halves, doubtful = {}, 0, 0, None
    for life_number in range(KILLS + 1):
        life = Life(nursery, tmp_path / "vectors", number)
        found = {int(id_): int(n) for id_, n in life.found.items()}
        if doubtful is not None and found == after(points, doubtful):
            halves += 1
        else:
            assert found == points, f"after kill {life_number}"
        points = found
        life.read(chance.randrange(0, 60))
        time.sleep(chance.random() * 0.05)
        life.end(life.index if life_number % 2 else life.pid)
        for done in range(number, life.done + 1):
            points = after(points, done)
        doubtful = life.tried if life.tried > life.done else None
        number = life.tried + 1
    assert number > KILLS
    assert len(points) > 100
