"""The small parts of the command line: who wins, the banner, the list of models."""

import asyncio
import io
import shlex

from rich.console import Console

from enginehouse.cli.banner import banner, show_banner
from enginehouse.cli.chat.host import private
from enginehouse.cli.effective import overridden
from enginehouse.cli.models.run import table
from enginehouse.core.identity import Identity
from enginehouse.settings import load
from enginehouse.settings.schema import AuthSettings, ServerSettings, Settings
from enginehouse.types import Kind, Model


def model(name, kind=Kind.CHAT):
    return Model(id=name, kind=kind, deployments=())


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path):
    file = tmp_path / "enginehouse.yaml"
    file.write_text("server: {host: 10.0.0.1, port: 1}\n")
    environ = {"PORT": "2", "ENGINEHOUSE_SERVER__PORT": "3"}
    assert load(file, overridden(environ, {"server.host": None, "server.port": None})).server.port == 3
    server = load(file, overridden(environ, {"server.host": "::1", "server.port": 0})).server
    assert (server.host, server.port) == ("::1", 0)
    assert load(file, overridden({"PORT": "2"}, {"server.port": 4})).server.port == 4


def test_the_banner_ends_with_a_command_that_can_be_pasted():
    lines = banner("http://h:1", [model("e", Kind.EMBEDDING), model("it's")], wants_key=True)
    words = shlex.split(lines[-2])
    assert words[:2] == ["curl", "http://h:1/v1/chat/completions"]
    assert "Authorization: Bearer $API_KEY" in words
    assert '"model": "it\'s"' in words[-1]
    assert "2 models" in lines[1]


def test_without_a_chat_model_there_is_nothing_to_try():
    lines = banner("http://h:1", [model("e", Kind.EMBEDDING)], wants_key=False)
    assert not any("curl" in line or "chat" in line for line in lines)


def test_the_banner_is_for_terminals():
    shown = {}
    for is_terminal in (True, False):
        stream = io.StringIO()
        console = Console(file=stream, force_terminal=is_terminal, width=20)
        show_banner(console, "http://h:1", [model("m")], wants_key=False)
        shown[is_terminal] = stream.getvalue()
    assert shown[False] == ""
    assert "/v1/chat/completions" in shown[True]


def test_a_service_of_the_chats_own_is_for_the_chat_alone():
    open_to_all = Settings(
        server=ServerSettings(host="0.0.0.0", port=80),
        auth=AuthSettings(api_keys=("team",), jwt_secret="j", key_secret="the stored keys are hashed with this"),
    )
    mine = private(open_to_all, "mine")
    assert (mine.server.host, mine.server.port, mine.auth.jwt_secret) == ("127.0.0.1", 0, None)
    assert asyncio.run(Identity(mine.auth).principal("Bearer mine", None)).role == "admin"
    assert mine.auth.key_secret == open_to_all.auth.key_secret
    assert [key.get_secret_value() for key in mine.auth.api_keys] == ["mine"]
    assert mine.server.max_body_bytes == open_to_all.server.max_body_bytes


def test_the_table_has_a_column_for_what_is_known():
    stream = io.StringIO()
    rows = [{"id": "a", "type": "chat", "size": None}, {"id": "b", "size": 98_400_000}]
    Console(file=stream, width=80).print(table(rows))
    head, first, second = stream.getvalue().splitlines()
    assert head.split() == ["Model", "Type", "Size"]
    assert (first.split(), second.split()) == (["a", "chat", "-"], ["b", "-", "98.4", "MB"])
