"""Conversations of a real service: said over the chat route, read by their owner alone, kept over a restart."""

import json
import urllib.request

import pytest

from tests.integration.command import run
from tests.integration.parrot import Parrot
from tests.integration.service import Service

ROOT = {"Authorization": "Bearer root"}
CHAT, SESSIONS = "/api/v1/inference/chat", "/api/v1/sessions"


@pytest.fixture
def service(tmp_path):
    with Parrot() as parrot:
        config = {
            "data_dir": str(tmp_path / "data"),
            "auth": {"api_keys": ["root"]},
            "default_models": False,
            "cache": {"enabled": True},
            "models": {"parrot": {"engine": "openai", "base_url": parrot.url, "kind": "chat"}},
        }
        yield Service(tmp_path, config)


def keys(service):
    """Of two users."""
    made = [service.call("/v1/keys", {"user_id": name}, ROOT)[1]["key"] for name in ("ann", "bob")]
    return [{"Authorization": f"Bearer {key}"} for key in made]


def send(service, method, path, headers):
    request = urllib.request.Request(service.url + path, method=method, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read()


def chat(service, who, session_id, prompt="What is Python?", **more):
    status, body, _ = service.call(CHAT, {"session_id": session_id, "prompt": prompt, **more}, who)
    assert status == 200, body
    return body


def test_a_conversation_is_its_owners_and_outlives_the_service(service, tmp_path):
    with service:
        ann, bob = keys(service)
        first = chat(service, ann, "abc-123")
        chat(service, ann, "abc-123", "Whose?")
        chat(service, ann, "abc-123", "What is it, in short?", parent="root", system="Be short.")
        anew = chat(service, ann, "abc-123", prompt=None, parent=first["message_id"])
        assert anew["message_id"] != first["message_id"]
        assert service.call(CHAT, {"session_id": "abc-123"}, ann)[0] == 400
        for who in (bob, ROOT):
            assert service.call(f"{SESSIONS}/abc-123", None, who)[0] == 404
            assert service.call(SESSIONS, None, who)[1]["data"] == []
    with service:
        session = service.call(f"{SESSIONS}/abc-123", None, ann)[1]
        assert (session["title"], session["message_count"], session["system"]) == (
            "What is Python?",
            7,
            "Be short.",
        )
        told = service.call(f"{SESSIONS}/abc-123/messages?branch=all", None, ann)[1]["data"]
        assert [message["status"] for message in told] == ["complete"] * 7
        assert told[1]["usage"]["output"] == 2
        command_line(service, ann["Authorization"].removeprefix("Bearer "), tmp_path)
        assert service.call(f"{SESSIONS}/abc-123", None, ann)[0] == 404


def command_line(service, key, folder):
    def sessions(*arguments):
        done = run("sessions", *arguments, "--url", service.url, "--key", key, cwd=folder)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert [item["id"] for item in json.loads(sessions("list", "--json"))] == ["abc-123"]
    assert "What is Python?" in sessions("list")
    assert sessions("show", "abc-123").startswith("# What is Python?")
    assert len(json.loads(sessions("show", "abc-123", "--json"))["messages"]) == 2
    sessions("export", "abc-123", "--output", str(folder / "talk.json"))
    assert len(json.loads((folder / "talk.json").read_text())["messages"]) == 7
    assert "## Assistant" in sessions("export", "abc-123", "--format", "markdown")
    assert "deleted" in sessions("delete", "abc-123")
    assert run("sessions", "show", "abc-123", "--url", service.url, "--key", key, cwd=folder).returncode == 1


def test_a_deleted_conversations_answers_are_cached_no_more(service):
    with service:
        ann, _ = keys(service)
        assert chat(service, ann, "one", temperature=0)["cached"] is None
        assert chat(service, ann, "two", temperature=0)["cached"] == "l1"
        send(service, "DELETE", f"{SESSIONS}/one", ann)
        assert chat(service, ann, "three", temperature=0)["cached"] is None
