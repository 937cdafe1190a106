"""Models registered on a running service, with the real engine: swaps under traffic, restarts, sudden deaths."""

import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.integration.service import Service, Stream

CHAT = "/v1/chat/completions"


def hello(model, **more):
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4, **more}


@pytest.fixture
def own(tmp_path, service, gguf):
    """A service with a data folder of its own, which may name the real model's folder as a source."""
    config = {
        "data_dir": str(tmp_path / "data"),
        "sources": {"base_dir": str(gguf.parent)},
        "default_models": False,
        # Streams are pinged while they wait for a slot or a load, so that their heads go out before their seats.
        "server": {"shutdown_timeout": 10, "ping_interval": 0.2},
    }
    with Service(tmp_path, config) as running:
        yield running


def change(service, method, path, body=None):
    """Status and body of a call that is neither GET nor POST."""
    import urllib.error
    import urllib.request

    data = json.dumps(body or {}).encode()
    request = urllib.request.Request(service.url + path, data=data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def register(service, id_, gguf, **more):
    body = {"id": id_, "source": gguf.name, "context_length": 512, "slots": 2, **more}
    status, answer, _ = service.call("/v1/models", body, timeout=120)
    assert status == 201, answer
    return answer


def test_an_alias_goes_back_and_forth_under_traffic_and_no_request_fails(own, gguf):
    register(own, "bert@1", gguf, aliases=["prod"], load_first=True)
    register(own, "bert@2", gguf, load_first=True)
    stop, answered = threading.Event(), []

    def ask():
        while not stop.is_set():
            status, body, headers = own.call(CHAT, hello("prod"))
            answered.append((status, headers["X-Enginehouse-Model"]))
            assert body["choices"]

    def stream():
        while not stop.is_set():
            with Stream(own, CHAT, hello("prod", stream=True)) as one:
                text = one.read_to_end().decode()
            head = text.split("\r\n\r\n")[0].lower()
            whole = "data: [DONE]" in text and '"error"' not in text
            assert "x-enginehouse-model: " in head, text
            name = head.partition("x-enginehouse-model: ")[2].split()[0]
            answered.append((200 if whole and " 200 " in head else 0, name))

    with ThreadPoolExecutor(4) as pool, ExitStack() as at_the_end:
        at_the_end.callback(stop.set)
        works = [pool.submit(work) for work in (ask, ask, stream, stream)]
        for turn in range(6):
            to = ("bert@2", "bert@1")[turn % 2]
            body = {"aliases": ["prod"], "move_aliases": True, "load_first": True}
            assert change(own, "PATCH", f"/v1/models/{to}", body)[0] == 200
            assert own.call("/v1/models/prod")[1]["id"] == to
            enough = len(answered) + 6
            own.wait_until(lambda enough=enough: len(answered) >= enough, 60)
        # The last turn gave it to bert@1: a new version takes it, and both old ones go, under the same traffic.
        register(own, "bert@3", gguf, alias="prod", move_aliases=True, load_first=True)
        assert change(own, "DELETE", "/v1/models/bert@2")[0] == 200
        assert change(own, "DELETE", "/v1/models/bert@1")[0] == 200
        own.wait_until(lambda: {name for _, name in answered[-4:]} == {"bert@3"}, 60)
        stop.set()
        for work in works:
            work.result(60)
    assert {status for status, _ in answered} == {200}, own.log()
    assert {name for _, name in answered} == {"bert@1", "bert@2", "bert@3"}
    assert len(own.children()) == 1


def test_registrations_outlive_the_service_and_a_configured_name_wins(own, tmp_path, gguf):
    register(own, "kept", gguf, alias="nick")
    own.process.send_signal(signal.SIGTERM)
    own.process.wait(30)
    own.start()
    assert own.call("/v1/models/nick")[1]["origin"] == "api"
    assert own.call(CHAT, hello("nick"))[0] == 200
    config = json.loads(own.config_file.read_text())
    own.configure({**config, "models": {"kept": {"source": str(gguf), "name": "configured"}}})
    own.wait_until(lambda: own.call("/v1/models/kept")[1]["origin"] == "settings", 10)
    status, body = change(own, "DELETE", "/v1/models/kept")
    assert (status, body["error"]["code"]) == (409, "conflict")
    own.configure(config)
    own.wait_until(lambda: own.call("/v1/models/kept")[1]["origin"] == "api", 10)
    assert change(own, "DELETE", "/v1/models/kept")[0] == 200
    assert own.call("/v1/models/kept")[0] == 404


def test_a_kill_in_the_middle_leaves_the_old_file_or_the_new(own, gguf):
    file = own.folder / "data" / "registered-models.json"
    known: set[str] = set()
    for life in range(4):
        told, stop = [], threading.Event()

        def write(life=life, told=told, stop=stop):
            number = 0
            while not stop.is_set():
                id_ = f"m{life}-{number}"
                try:
                    body = {"id": id_, "source": gguf.name, "name": "x" * 5000}
                    status, _, _ = own.call("/v1/models", body)
                except (OSError, http.client.HTTPException):  # it was killed before or within its answer
                    return
                if status == 201:
                    told.append(id_)
                number += 1

        with ThreadPoolExecutor(1) as pool:
            writer = pool.submit(write)
            own.wait_until(lambda told=told: len(told) > 3, 20)
            time.sleep(0.013 * life)
            own.process.kill()
            own.process.wait()
            stop.set()
            writer.result(30)
        kept = json.loads(file.read_text())["models"].keys()
        assert known | set(told) <= kept
        assert len(kept - known - set(told)) <= 1, "at most the one whose caller got no answer"
        known = set(kept)
        own.start()
        assert {entry["id"] for entry in own.call("/v1/models")[1]["data"]} == known
    assert not [path for path in file.parent.iterdir() if ".bad-" in path.name]


def test_the_command_line_adds_edits_and_removes(own, gguf):
    def run(*words):
        command = [sys.executable, "-m", "enginehouse", "models", *words, "--url", own.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout, done.stderr

    code, out, err = run("add", "org/m:8b@1", f"source={gguf.name}", "alias=prod", "--json")
    assert (code, json.loads(out)["aliases"]) == (0, ["prod"]), err
    assert run("add", "org/m:8b@1", f"source={gguf.name}")[0] == 1
    code, out, _ = run("edit", "org/m:8b@1", "name=Small", "--unset", "aliases", "--json")
    assert (code, json.loads(out)["name"], json.loads(out)["aliases"]) == (0, "Small", [])
    assert "org/m:8b@1" in run()[1]
    assert run("remove", "org/m:8b@1")[:2] == (0, "org/m:8b@1 is deleted.\n")
    code, _, err = run("remove", "org/m:8b@1")
    assert (code, "does not exist" in err) == (1, True)
