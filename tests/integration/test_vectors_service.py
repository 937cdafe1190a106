"""Collections in a real service with real models: M1's examples, retrieval, a kill, backup and restore."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.service import CACHE, Service

PAGE = Path(__file__).parents[2] / "docs" / "vector-database.md"
NOTES = {
    "coast.md": "# The coast\n\nThe keeper painted the door of the lighthouse green.\n\n"
    "Ships pass it at night on their way to the harbour.",
    "bread.md": "# Bread\n\nThe dough of the baker rises for three hours.\n\nHe bakes it in an oven of stone.",
    "birds.md": "# Birds\n\nIn autumn the geese fly south over the marshes.",
}


@pytest.fixture
def place(tmp_path):
    """A service with data of its own, but for the models' files."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "artifacts").symlink_to(CACHE / "artifacts")
    return Service(tmp_path, {"data_dir": str(data)})


def example():
    """The program of the page."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return code


@pytest.mark.usefixtures("service")  # fetches the models
def test_the_pages_example_answers_from_the_right_passage(place, tmp_path):
    notes = tmp_path / "notes"
    notes.mkdir()
    for name, text in NOTES.items():
        (notes / name).write_text(text)
    program = tmp_path / "retrieve.py"
    program.write_text(example())
    with place as service:
        for _ in range(2):  # running it again changes nothing
            answer, *sources = run(program, notes, "What colour is the door of the lighthouse?", service.url)
            assert "green" in answer.lower()
            assert sources[0].split()[1] == "coast.md#1"
        _, first, _ = run(program, notes, "How long does the dough rise?", service.url)
        assert first.split()[1] == "bread.md#1"
        status, count, _ = service.call("/v1/vector/points/count", {"collection_name": "markdown"})
        assert (status, count) == (200, {"count": 8})


def run(program, *arguments):
    done = subprocess.run(
        [sys.executable, program, *map(str, arguments)], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    *answer, first, second = done.stdout.strip().splitlines()
    return " ".join(answer), first, second


@pytest.mark.usefixtures("service")
def test_the_commands_of_the_page_work(place):
    commands = re.findall(r"curl localhost:8000(\S+) -d '(.*?)'\n", PAGE.read_text(), re.DOTALL)
    assert len(commands) == 3
    with place as service:
        answers = [service.call(path, json.loads(body))[:2] for path, body in commands]
    assert [status for status, _ in answers] == [201, 200, 200]
    (hit,) = answers[-1][1]["results"]
    assert (hit["id"], hit["payload"]) == ("point_1", {"page": 1})
    assert answers[0][1]["vector_size"] == 384


@pytest.mark.timeout(180)
def test_killed_and_started_again_it_has_what_it_acknowledged(place, tmp_path):
    acknowledged = 0
    place.start()
    assert place.call("/v1/vector/collections", {"name": "docs", "vector_size": 8})[0] == 201
    for life in range(3):
        for _ in range(5):
            points = [{"id": f"n{acknowledged + n}", "vector": [n, 1] * 4} for n in range(200)]
            assert place.call("/v1/vector/points", {"collection_name": "docs", "points": points})[0] == 200
            acknowledged += 200
        os.kill(place.process.pid, signal.SIGKILL)
        place.process.wait()
        place.start()
        assert place.call("/v1/vector/points/count", {"name": "docs"})[1] == {"count": acknowledged}, life
    exported = tmp_path / "docs.ndjson"
    command(place, "export", "docs", "--output", str(exported))
    assert len(exported.read_text().splitlines()) == acknowledged + 2
    command(place, "import", str(exported), "--name", "copy")
    assert [line.split()[:2] for line in command(place, "list").splitlines()[1:]] == [
        ["copy", str(acknowledged)],
        ["docs", str(acknowledged)],
    ]
    children = place.children()
    place.__exit__()
    assert place.process.returncode == 0
    assert not [child for child in children if child.is_running()]


def command(place, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "enginehouse", "vectors", *arguments, "--url", place.url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
