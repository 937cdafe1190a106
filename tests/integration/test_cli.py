"""The command line as programs and people call it: what it prints, to which stream, and how it ends."""

import json
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from enginehouse import __version__
from enginehouse.cli.doctor import setup
from enginehouse.cli.doctor.finding import Status
from tests.integration.command import TerminalSession, run
from tests.integration.openai_server import FakeOpenAI
from tests.integration.service import CACHE, free_port

COMMANDS = ("serve", "pull", "models", "chat", "config", "doctor")


@pytest.fixture
def elsewhere(tmp_path):
    """Settings of a service that does not run and has nothing."""
    return {"cwd": tmp_path, "ENGINEHOUSE_DATA_DIR": str(tmp_path / "data"), "PORT": str(free_port())}


def test_help_lists_every_command():
    done = run("--help")
    assert done.returncode == 0
    assert all(f" {name} " in done.stdout for name in (*COMMANDS, "--install-completion", "--version"))


def test_help_is_quick_since_it_loads_nothing_heavy():
    program = "import sys, enginehouse.__main__ as m\ntry: m.main()\nfinally: print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program, "--help"], capture_output=True, text=True, check=False)
    heavy = {"fastapi", "numpy", "pydantic", "sqlalchemy", "starlette", "uvicorn", "aiohttp", "msgspec"}
    assert "Usage" in done.stdout
    assert not heavy & set(done.stderr.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name):
    done = run(name, "--help")
    assert (done.returncode, done.stderr) == (0, "")


def test_version():
    assert run("--version").stdout == f"enginehouse {__version__}\n"


def test_completion_for_a_shell():
    done = run(_ENGINEHOUSE_COMPLETE="complete_bash", COMP_WORDS="enginehouse do", COMP_CWORD="1")
    assert done.stdout.split() == ["doctor"]


@pytest.mark.parametrize("command", [("serve",), ("models",), ("pull",), ("chat", "--once", "hi")])
def test_wrong_settings_exit_2_and_name_the_key(command, tmp_path):
    file = tmp_path / "wrong.yaml"
    file.write_text("server: {prt: 9000}\n")
    done = run(*command, "--config", file)
    assert (done.returncode, done.stdout) == (2, "")
    assert "server.prt" in done.stderr
    assert "server.port" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_settings_file_that_is_not_there_exits_2(tmp_path):
    done = run("serve", "--config", tmp_path / "gone.yaml")
    assert (done.returncode, "gone.yaml" in done.stderr) == (2, True)


def test_a_port_that_is_taken_exits_2(elsewhere):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("serve", "--port", taken.getsockname()[1], **elsewhere)
    assert done.returncode == 2
    assert "--port" in done.stderr


@pytest.mark.parametrize("arguments", [("serve", "--port", "70000"), ("serv",), ("chat", "--temperature", "hot")])
def test_a_wrong_command_line_exits_2(arguments):
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")


def test_an_error_exits_1_with_its_message_alone(elsewhere):
    done = run("models", "--url", f"http://127.0.0.1:{free_port()}", **elsewhere)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("No service answers at http://127.0.0.1:")


# models --------------------------------------------------------------------------------------------------


def test_models_without_a_service_are_those_of_the_settings(elsewhere):
    done = run("models", "--json", **elsewhere)
    listed = json.loads(done.stdout)
    assert listed["url"] is None
    states = {model["id"]: model["status"] for model in listed["models"]}
    assert states.pop("guard") == states.pop("nanoguard") == "local"
    assert states == dict.fromkeys(states, "to pull")
    assert {"minilm", "smollm2", "roberta-base_pretrained"} <= states.keys()
    people = run("models", **elsewhere)
    assert "as configured" in people.stderr
    assert "smollm2" in people.stdout


def test_models_of_a_running_service(service):
    listed = json.loads(run("models", "--json", PORT=str(service.port)).stdout)
    assert listed["url"] == service.url
    assert {model["id"] for model in listed["models"]} >= {"minilm", "smollm2"}
    people = run("models", "--url", service.url)
    assert (people.returncode, people.stderr) == (0, "")
    assert "llama_server" in people.stdout


def test_models_of_any_compatible_service():
    with FakeOpenAI() as fake:
        assert run("models", "--url", f"{fake.url}/v1").stdout.split() == ["Model", "parrot", "jackdaw"]


# serve ---------------------------------------------------------------------------------------------------


def test_serve_greets_a_terminal_and_ends_with_exit_code_0(tmp_path):
    port = free_port()
    with TerminalSession("serve", "--port", port, ENGINEHOUSE_DATA_DIR=str(tmp_path)) as terminal:
        shown = terminal.wait_for("curl http://")
        assert f"http://127.0.0.1:{port}/docs" in shown
        time.sleep(0.3)
        terminal.interrupt()
        assert terminal.exit_code() == 0


def test_what_cannot_be_pulled_is_told_and_the_rest_is_served(tmp_path):
    nowhere = f"http://127.0.0.1:{free_port()}/simple"
    environ = {"ENGINEHOUSE_DATA_DIR": str(tmp_path), "PIP_INDEX_URL": nowhere, "LOG_FORMAT": "json"}
    with TerminalSession("serve", "--pull", "--port", 0, **environ) as terminal:
        logged = terminal.wait_for(r'"event":"ready"')
        assert logged.count("pull_failed") == 2
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.exit_code() == 0


def test_the_settings_of_the_command_line_win(elsewhere):
    port = free_port()
    environ = {name: value for name, value in elsewhere.items() if name != "cwd"}
    with TerminalSession("serve", "--port", port, LOG_FORMAT="json", **environ) as terminal:
        terminal.wait_for(f'"url":"http://127.0.0.1:{port}"')


# doctor --------------------------------------------------------------------------------------------------


def test_doctor_offline(elsewhere):
    done = run("doctor", "--json", "--offline", **elsewhere)
    report = json.loads(done.stdout)
    found = {finding["name"]: finding for finding in report["findings"]}
    assert (done.returncode, report["status"], done.stderr) == (0, "warn", "")
    assert found["package index"]["detail"] == "not asked (--offline)"
    assert found["model smollm2"]["remedy"] == "enginehouse pull smollm2"
    assert {"python", "processor", "memory", "gpu", "packages", "extra local", "data_dir", "port"} <= found.keys()
    assert not Path(elsewhere["ENGINEHOUSE_DATA_DIR"]).exists()


def test_doctor_fails_when_something_needed_is_missing(elsewhere):
    nowhere = f"http://127.0.0.1:{free_port()}/simple"
    done = run("doctor", PIP_INDEX_URL=nowhere, LLAMA_SERVER_PATH="/nowhere/llama-server", **elsewhere)
    assert done.returncode == 1
    failed = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert failed == ["llama-server", "package"]


def test_doctor_lists_the_mistakes_of_the_settings_and_goes_on(elsewhere):
    done = run("doctor", "--json", "--offline", ENGINEHOUSE_SERVER__PRT="1", **elsewhere)
    found = {finding["name"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert done.returncode == 1
    assert "ENGINEHOUSE_SERVER__PORT" in found["settings"]["detail"]
    assert found["data_dir"]["status"] == "ok"


def test_doctor_knows_who_is_on_the_port(service, elsewhere):
    elsewhere.pop("PORT")
    ours = run("doctor", "--json", "--offline", PORT=str(service.port), **elsewhere)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        other = run("doctor", "--json", "--offline", PORT=str(taken.getsockname()[1]), timeout=90, **elsewhere)
    details = [_finding(done, "port")["detail"] for done in (ours, other)]
    assert "an Enginehouse answers" in details[0]
    assert "in use" in details[1].lower()


def test_doctor_sees_that_a_models_file_is_damaged(tmp_path, elsewhere):
    (tmp_path / "bad.gguf").write_bytes(b"no model at all")
    (tmp_path / "enginehouse.yaml").write_text("default_models: false\nmodels: {bad: {source: bad.gguf}}\n")
    done = run("doctor", "--json", "--offline", **elsewhere)
    assert (done.returncode, _finding(done, "model bad")["status"]) == (1, "fail")


def _finding(done, name):
    return next(finding for finding in json.loads(done.stdout)["findings"] if finding["name"] == name)


@pytest.mark.parametrize(
    ("text", "status", "detail"),
    [
        ("echo 'version: 6000 (abc)' >&2", Status.OK, "version: 6000 (abc)"),
        ("echo 'libcuda.so: not found' >&2; exit 127", Status.FAIL, "libcuda.so: not found"),
        ("exit 0", Status.OK, "tells no version"),
    ],
)
def test_a_llama_server_is_run_to_see_whether_it_can(tmp_path, text, status, detail):
    binary = tmp_path / "llama-server"
    binary.write_text(f"#!/bin/sh\n{text}\n")
    binary.chmod(stat.S_IRWXU)
    found = setup.llama_server(binary)
    assert found.status is status
    assert detail in found.detail


# pull ----------------------------------------------------------------------------------------------------


def test_pull_of_what_is_here_is_quick(service):
    done = run("pull", "smollm2", "--json", ENGINEHOUSE_DATA_DIR=str(CACHE))
    assert done.returncode == 0
    assert json.loads(done.stdout.splitlines()[-1])["event"] == "ready"


def test_pull_of_nothing_known_exits_2(elsewhere):
    done = run("pull", "smolm2", **elsewhere)
    assert done.returncode == 2
    assert "smollm2" in done.stderr
