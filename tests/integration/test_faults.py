"""What clients see when the server behind the service fails: an error in their own dialect, or another's answer.

`docs/faults.md` is the table of what these cells showed; `FAULTS_PAGE=write` writes it anew.
"""

import itertools
import os
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.integration.faces import FACES, Leaving, Refused
from tests.integration.service import Service, free_port
from tests.integration.upstream import Upstream

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
ENGINES = {"openai": "/v1", "anthropic": "", "ollama": "/api"}
SILENCE, TOTAL = 1.0, 1.5
"""Seconds that hanging and endless servers are given."""


class Fault(NamedTuple):
    """What a server does, in words, and what a caller is told of it.

    `streamed` is the status of a stream that fails before its first byte, or None where it fails within.
    """

    words: str
    whole: int
    streamed: int | None


FAULTS = {
    "refuse": Fault("refuses the connection", 502, 502),
    "hang": Fault("says nothing", 504, 504),
    "hang_within": Fault("falls silent within its answer", 504, None),
    "endless": Fault("drips words and never ends", 504, None),
    "cut": Fault("breaks the connection within a frame", 502, None),
    "early": Fault("ends properly, but without saying why the answer ends", 502, None),
    "busy": Fault("answers 429 with `Retry-After: 30`", 429, 429),
    "broken": Fault("answers 500", 502, 502),
    "page": Fault("answers 200 with a web page", 502, 502),
    "garbled": Fault("begins with a frame that is no JSON", 502, 502),
    "garbled_within": Fault("sends a frame that is no JSON within its answer", 502, None),
    "reports": Fault("reports an error within its answer", 502, None),
    "huge": Fault("sends a frame, or a body, of 17 MiB", 502, 502),
    "drip": Fault("sends its answer in pieces of five bytes", 200, 200),
}
PASSED = {("Chat", "openai"), ("Completions", "openai"), ("Messages", "anthropic"), ("OllamaChat", "ollama")}
PASSED |= {("OllamaGenerate", "ollama")}
"""Where a whole answer goes through as it is: it may be longer than a frame."""


class Seen(NamedTuple):
    """What one client saw; `status` is 200 for a whole answer and None for an error within a stream."""

    fault: str
    engine: str
    face: str
    stream: bool
    mended: bool
    status: int | None
    retry_after: str | None
    text: str
    question: str
    took: float


def model_of(upstream, engine, fault):
    root = f"http://127.0.0.1:{free_port()}" if fault == "refuse" else f"{upstream.url}/{fault}"
    model = {"engine": engine, "base_url": root + ENGINES[engine], "upstream_model": "theirs"}
    if fault in {"hang", "hang_within"}:
        model["request_timeout"] = SILENCE
    if fault == "endless":
        model["timeouts"] = {"total": TOTAL}
    return model


def config(upstream):
    """A model for each fault and engine, and one that has a second server, or a fall-back, that is well."""
    models = {}
    for at, engine in enumerate(ENGINES):
        other = list(ENGINES)[at - 1]
        models[f"well-{engine}"] = model_of(upstream, engine, "well")
        for fault in FAULTS:
            model = models[f"{fault}-{engine}"] = model_of(upstream, engine, fault)
            second = {"deployments": [model_of(upstream, other, "well")]}
            if {"timeouts", "request_timeout"} & model.keys() or engine == "ollama":
                second = {"fallbacks": [f"well-{other}"]}
            # It is always asked first: the second one's share of the work is next to nothing.
            models[f"{fault}-{engine}-mended"] = model | second | {"weight": 1e9}
    # Each cell asks a server that fails for the first time: no breaker opens, and no wait is remembered.
    routing = {"retries": 0, "breaker_failures": 10_000, "max_retry_after": 1e-3}
    return {"default_models": False, "models": models, "routing": routing, "residency": {"max_models": 200}}


def cells_of(upstream, faces, fault, engine, mended):
    """What every client sees of one model, one after the other."""
    name = f"{fault}-{engine}-mended" if mended else f"{fault}-{engine}"
    seen = []
    for at, (name_of_face, face) in enumerate(faces.items()):
        for stream in (False, True):
            text = f"fault {name} {at}{stream}"
            heard = upstream.heard[text].set
            if not stream:
                heard()  # there is nothing to hear before its end
            began = time.monotonic()
            try:
                told = face.ask(name, "text", text, stream=stream, heard=heard).text
                status, retry_after = 200, None
            except Refused as refused:
                status, retry_after, told = refused.status, refused.retry_after, refused.begun
            took = time.monotonic() - began
            cell = Seen(fault, engine, name_of_face, stream, mended, status, retry_after, told, text, took)
            seen.append(cell)
    return seen


@pytest.fixture(scope="module")
def upstream():
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def house(upstream, tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    with Service(folder, {**config(upstream), "data_dir": str(folder)}) as running:
        yield running


@pytest.fixture(scope="module")
def faces(house):
    faces = {name: face(house.url) for name, face in FACES.items()}
    yield faces
    for face in faces.values():
        face.close()


@pytest.fixture(scope="module")
def seen(upstream, faces):
    """All cells, the slow ones first."""
    order = sorted(FAULTS, key=lambda fault: fault not in {"hang", "hang_within", "endless"})
    models = [(fault, engine, mended) for fault in order for engine in ENGINES for mended in (False, True)]
    with ThreadPoolExecutor(24) as pool:
        found = pool.map(lambda model: cells_of(upstream, faces, *model), models)
        return [cell for cells in found for cell in cells]


@pytest.fixture(scope="module")
def departures(house, upstream, faces):
    """Seconds until the upstream saw its asker go, by stream or not, for every face and engine."""
    found = {False: [], True: []}
    for name, engine, stream in itertools.product(faces, ENGINES, (False, True)):
        text = f"leave {name} {engine} {stream}"
        with Leaving(house.port, faces[name], f"well-{engine}", text, stream=stream) as caller:
            if stream:
                caller.read_until(b"word")
            house.wait_until(lambda text=text: text in upstream.asked, 10)
        left = time.monotonic()
        house.wait_until(lambda text=text: text in upstream.left, 10)
        found[stream].append(upstream.left[text] - left)
    return found


def wanted(cell):
    """The status of an answer to such a fault."""
    fault = FAULTS[cell.fault]
    if cell.fault == "huge" and not cell.stream and (cell.face, cell.engine) in PASSED:
        return 200
    status = fault.streamed if cell.stream else fault.whole
    return 200 if cell.mended and status is not None else status


@pytest.mark.parametrize("fault", FAULTS)
def test_every_client_sees_an_error_or_another_servers_answer(seen, fault):
    cells = [cell for cell in seen if cell.fault == fault]
    assert len(cells) == len(FACES) * len(ENGINES) * 4
    wrong = [cell for cell in cells if cell.status != wanted(cell)]
    assert not wrong


def test_no_truncated_answer_looks_like_a_success(seen):
    for cell in seen:
        whole = f"Grüße, 世界: {cell.question}"
        promised = "word " * 1000 if cell.fault == "endless" and cell.status != 200 else whole
        assert promised.startswith(cell.text), cell
        assert cell.status != 200 or cell.text == whole, cell


def test_a_stream_that_fails_within_has_told_what_came_before(seen):
    within = [cell for cell in seen if cell.status is None]
    assert within
    assert all(cell.text for cell in within)


def test_when_to_come_again_is_handed_on(seen):
    busy = [
        cell for cell in seen if cell.fault == "busy" and not cell.mended and not cell.face.startswith("Ollama")
    ]
    assert {cell.retry_after for cell in busy} == {"30"}


def test_nobody_waits_much_longer_than_the_limit(seen):
    slow = [cell for cell in seen if cell.took > max(SILENCE, TOTAL) + 8]
    assert not slow


def test_the_upstream_sees_within_a_second_that_its_asker_has_gone(departures):
    assert all(len(times) == len(FACES) * len(ENGINES) for times in departures.values())
    assert max(max(times) for times in departures.values()) < 1


def test_the_page_tells_what_was_seen(seen, departures):
    page = told(seen, departures)
    if os.environ.get("FAULTS_PAGE") == "write":
        PAGE.write_text(page, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page


def told(seen, departures):
    rows = [f"| {fault.words} | {' | '.join(_row(seen, name))} |" for name, fault in FAULTS.items()]
    gone = {stream: sum(time < 1 for time in times) for stream, times in departures.items()}
    of = len(FACES) * len(ENGINES)
    return _PAGE.format(
        cells=len(seen), rows="\n".join(rows), faces=len(FACES), engines=len(ENGINES), whole=gone[False],
        streamed=gone[True], of=of,
    )  # fmt: skip


def _row(seen, fault):
    for mended in (False, True):
        for stream in (False, True):
            counted = Counter(
                cell.status for cell in seen if (cell.fault, cell.mended, cell.stream) == (fault, mended, stream)
            )
            yield ", ".join(f"{_WORDS.get(status, status)} ({count})" for status, count in counted.most_common())


_WORDS = {200: "whole", None: "error within the stream"}
_PAGE = """# When a server behind the service fails

Each row is something a server does wrong. In brackets stands how many cells of {faces} faces (OpenAI's chat,
completions and Responses, Anthropic's Messages, Ollama's chat and generate, through their official clients) by
{engines} engines (OpenAI, Anthropic, Ollama) have shown it. `whole` is a complete answer, a number the HTTP
status of an error in the caller's own dialect. An error within a stream is what that dialect has for it: the
client raises, and no stream that broke ends as one that came to its end. In none of the {cells} cells did a
truncated answer look like a success.

The last two columns are for a model with a second server, or with a fall-back: until the first byte of an
answer the other one answers in its stead, in whatever dialect it speaks; after it nothing is asked twice.

| The server … | whole answer | streamed | whole, with a second server | streamed, with a second server |
|---|---|---|---|---|
{rows}

A body of 17 MiB that passes through as it is, in its caller's own dialect, is no fault; a frame of a stream may
have 16 MiB. `Retry-After` is handed on to the caller when it is longer than `routing.max_pause`.

That a server lets the service ask no more for now (429) the caller hears as just that, `slow_down` with the
server's own `Retry-After`, for its client knows how to wait. An account that has run out of money, which OpenAI
calls 429 too (`insufficient_quota`), no waiting helps: it is 502 `upstream_error`, and the operator's to mend.

When its caller leaves, the server sees that within a second: in {whole} of {of} cells where a whole answer was
asked for, in {streamed} of {of} within a stream.

`FAULTS_PAGE=write pytest tests/integration/test_faults.py` makes this page; without the variable it is
compared.
"""
