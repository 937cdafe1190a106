"""Bad input and bad circumstances: each a clear error, and a service that goes on."""

import json
import os
import socket
import stat
import subprocess
import sys

import pytest

from tests.integration.service import Service

CHAT = "/v1/chat/completions"
HELLO = {"model": "smollm2", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 500_000, b'{"model":"smollm2","messages":7}'])
def test_broken_bodies(service, body):
    status, answer, headers = service.call(CHAT, body)
    assert status == 400
    assert answer["error"]["type"] == "invalid_request_error"
    assert headers["X-Request-ID"]
    assert headers["Server-Timing"]
    assert service.call(CHAT, HELLO)[0] == 200


def test_a_body_of_20_mb(service):
    status, answer, _ = service.call(CHAT, b'{"model":"' + b"x" * 20_000_000 + b'"}')
    assert (status, answer["error"]["code"]) == (413, "request_too_large")


def test_a_chunked_body_of_20_mb(service):
    """Without a declared length the limit is found while reading."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        chunk = b"x" * 1_000_000
        for _ in range(20):
            connection.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        connection.sendall(b"0\r\n\r\n")
        assert b"413" in connection.recv(65536).split(b"\r\n")[0]


def models(gguf, tmp_path):
    corrupt = tmp_path / "corrupt.gguf"
    corrupt.write_bytes(b"garbage" * 1000)
    short = tmp_path / "short.gguf"
    with gguf.open("rb") as file:
        short.write_bytes(file.read(4_000_000))
    return {
        "corrupt": {"source": str(corrupt), "kind": "chat", "engine": "llama_server"},
        "short": {"source": str(short), "kind": "chat", "engine": "llama_server"},
        "missing": {"source": str(tmp_path / "nowhere.gguf"), "kind": "chat", "engine": "llama_server"},
        "flagged": {"source": str(gguf), "flags": ["--flsh-attn", "on"]},
        "good": {"source": str(gguf), "context_length": 512},
        "unreachable": {"engine": "openai", "base_url": "http://127.0.0.1:9", "kind": "chat"},
    }


@pytest.fixture(scope="module")
def troubled(gguf, tmp_path_factory):
    folder = tmp_path_factory.mktemp("troubled")
    with Service(folder, {"models": models(gguf, folder)}) as running:
        yield running


@pytest.mark.parametrize(
    ("model", "status", "code", "words"),
    [
        ("corrupt", 503, "model_load_failed", "magic"),
        ("short", 503, "model_load_failed", "corrupted or incomplete"),
        ("missing", 503, "source_error", "nowhere.gguf"),
        ("flagged", 503, "model_load_failed", "--flash-attn"),
        ("unreachable", 502, "upstream_died", "refused"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_models_that_cannot_work(troubled, model, status, code, words, stream):
    got, answer, _ = troubled.call(CHAT, {**HELLO, "model": model, "stream": stream})
    assert (got, answer["error"]["code"]) == (status, code)
    assert words in answer["error"]["message"]
    assert troubled.call(CHAT, {**HELLO, "model": "good"})[0] == 200


def test_a_configured_context_is_the_limit(troubled):
    body = {**HELLO, "model": "good", "messages": [{"role": "user", "content": "word " * 700}]}
    status, answer, _ = troubled.call(CHAT, body)
    assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")
    assert "512" in answer["error"]["message"]


def test_a_missing_binary(tmp_path, gguf):
    config = {"engines": {"llama_server": {"path": str(tmp_path / "no-such-binary")}}}
    with Service(tmp_path, {**config, "models": {"good": {"source": str(gguf)}}}) as own:
        status, answer, _ = own.call(CHAT, {**HELLO, "model": "good"})
        assert (status, answer["error"]["code"]) == (503, "model_load_failed")
        assert "engines.llama_server.path" in answer["error"]["message"]


def run(*arguments, environ=None, seconds=30):
    return subprocess.run(
        [sys.executable, "-m", "enginehouse", *arguments],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        env={**os.environ, **(environ or {})},
    )


def test_a_taken_port(service, tmp_path):
    ended = run("serve", "--port", str(service.port), environ={"ENGINEHOUSE_DATA_DIR": str(tmp_path)})
    assert ended.returncode == 2
    assert f"port {service.port}" in ended.stderr
    assert "--port" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_strangers_are_not_let_in_without_a_key():
    ended = run("serve", "--host", "0.0.0.0", "--port", "0")
    assert ended.returncode == 2
    assert "auth.api_keys" in ended.stderr


def test_a_mistake_in_the_configuration(tmp_path):
    file = tmp_path / "enginehouse.yaml"
    file.write_text("server:\n  prot: 8000\n")
    ended = run("serve", "--config", str(file))
    assert ended.returncode == 2
    assert "server.prot" in ended.stderr
    assert "server.port" in ended.stderr


def test_keys_are_asked_for(tmp_path, service):
    with Service(tmp_path, environ={"API_KEY": "a-secret-key"}) as own:
        assert own.call("/v1/models")[0] == 401
        assert own.call("/v1/models", headers={"Authorization": "Bearer wrong"})[0] == 401
        assert own.call("/v1/models", headers={"Authorization": "Bearer a-secret-key"})[0] == 200
        assert own.call(CHAT, HELLO, headers={"X-API-Key": "a-secret-key"})[0] == 200
        assert own.call("/health")[0] == 200
        assert "a-secret-key" not in own.log()


def test_the_users_own_binary(tmp_path, gguf):
    """A script that takes any flag and becomes the bundled engine on the port it is told."""
    binary = tmp_path / "llama-server"
    binary.write_text(USERS_BINARY.format(python=sys.executable))
    binary.chmod(binary.stat().st_mode | stat.S_IXUSR)
    config = {
        "engines": {"llama_server": {"path": str(binary)}},
        "models": {"mine": {"source": str(gguf), "flags": ["--brand-new-flag", "-c", "1024"]}},
    }
    with Service(tmp_path, config) as own:
        status, answer, _ = own.call(CHAT, {**HELLO, "model": "mine"})
        assert status == 200, answer
        child = own.children()[0]
        assert "--brand-new-flag" in json.dumps(child.cmdline())
        own.process.kill()
        own.process.wait()
        child.wait(5)


USERS_BINARY = """#!{python}
import os, sys, time
import xllamacpp
words = sys.argv[1:]
def value(name):
    return words[len(words) - 1 - words[::-1].index(name) + 1]
params = xllamacpp.CommonParams()
params.model.path = value("-m")
params.model_alias = {{value("--alias")}}
params.n_ctx = int(value("-c"))
params.port = int(value("--port"))
params.api_keys = [os.environ["LLAMA_API_KEY"]]
server = xllamacpp.Server(params)
time.sleep(600)
"""
