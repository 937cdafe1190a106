"""`enginehouse config`: exit codes, and what goes to which stream."""

import json

import pytest
from typer.testing import CliRunner

from enginehouse.cli import app
from enginehouse.settings import describe

NO_FILE = {"CONFIG_PATH": None}


def run(*arguments, **environ):
    return CliRunner().invoke(app, ["config", *map(str, arguments)], env=NO_FILE | environ)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "enginehouse.yaml"
    path.write_text(
        "server: {port: 9000}\nauth: {api_keys: [hush]}\nmodels: {'a:b': {slots: 2}}\n", encoding="utf-8"
    )
    return path


@pytest.mark.parametrize(
    ("command", "text"), [("example", describe.example()), ("reference", describe.reference())]
)
def test_pages_are_printed_as_they_are(command, text):
    result = run(command)
    assert (result.exit_code, result.stdout) == (0, text)


def test_the_schema_is_json():
    assert json.loads(run("schema").stdout) == describe.json_schema()


def test_a_right_file_exits_0(file):
    result = run("check", file)
    assert result.exit_code == 0
    assert result.stdout == f"{file}: right, 3 values set, 1 models.\n"


@pytest.mark.parametrize("command", ["check", "show"])
def test_a_mistake_exits_2_and_is_told_on_stderr(file, command):
    file.write_text("server: {prot: 1}", encoding="utf-8")
    result = run(command, file)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "server.prot (line 1): there is no such key" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_file_that_is_not_there_exits_2(tmp_path):
    result = run("check", tmp_path / "gone.yaml")
    assert result.exit_code == 2
    assert "does not exist" in result.stderr


def test_the_file_may_be_named_by_the_environment(file):
    assert str(file) in run("check", CONFIG_PATH=str(file)).stdout


def test_show_tells_values_with_their_origins(file):
    lines = run("show", file, HOST="0.0.0.0").stdout.splitlines()
    assert "  host: 0.0.0.0  # environment HOST" in lines
    assert "  port: 9000  # file" in lines
    assert "  debug: false  # default" in lines
    assert "  api_keys: ['***']  # file" in lines
    assert "  a:b:" in lines
    assert "    slots: 2  # file" in lines


def test_show_as_json_is_for_programs(file):
    shown = json.loads(run("show", file, "--json").stdout)
    assert shown["values"]["server"]["port"] == 9000
    assert shown["origins"]["server.port"] == "file"
    assert "hush" not in json.dumps(shown)
