"""`enginehouse chat` as a person uses it: on a terminal, with slow, broken and real answers."""

import json
import socket
import time

import psutil
import pytest

from tests.integration.command import CTRL_D, TerminalSession, run
from tests.integration.openai_server import FakeOpenAI
from tests.integration.service import CACHE, free_port

PROMPT = r"> $"
QUESTION = "What is the capital of France? Answer in one word."


@pytest.fixture
def fake():
    with FakeOpenAI() as server:
        yield server


@pytest.fixture
def terminal(fake):
    with TerminalSession("chat", "--url", fake.url) as session:
        session.wait_for(PROMPT)
        yield session


def say(terminal, text):
    terminal.line(text)
    return terminal.wait_for(PROMPT)


def test_an_answer_its_figures_and_the_conversation(fake, terminal):
    shown = say(terminal, "hello")
    assert "You said 'hello'." in shown
    assert "3 tokens" in shown
    say(terminal, "again")
    assert fake.last_messages == [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "You said 'hello'."},
        {"role": "user", "content": "again"},
    ]
    terminal.type(CTRL_D)
    assert terminal.exit_code() == 0


def test_ctrl_c_stops_the_answer_and_not_the_program(fake, terminal):
    terminal.line("count")
    terminal.wait_for(r"\b7 ")
    began = time.monotonic()
    terminal.interrupt()
    terminal.wait_for(r"\[stopped\]")
    assert fake.hung_up.wait(2), "the server still generates"
    assert time.monotonic() - began < 2
    terminal.wait_for(PROMPT)
    assert "You said 'and now?'." in say(terminal, "and now?")
    question, partial, _ = fake.last_messages
    assert question["content"] == "count"
    assert partial["content"].startswith("0 1 2 3 4 5 6 7 ")


def test_ctrl_c_before_the_first_word_takes_the_question_back():
    """The server takes the connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with TerminalSession("chat", "nobody", "--url", url) as terminal:
            terminal.wait_for(PROMPT)
            terminal.line("hello?")
            terminal.wait_for(r"nobody \.\.\.")
            terminal.interrupt()
            terminal.wait_for(r"\[stopped\]")
            terminal.wait_for(PROMPT)
            terminal.line("/exit")
            assert terminal.exit_code() == 0


def test_ctrl_c_twice_at_the_prompt_leaves(terminal):
    terminal.type("half a line")
    terminal.wait_for("half a line")
    terminal.interrupt()
    terminal.wait_for("Ctrl-C again")
    terminal.wait_for(PROMPT)
    assert "You said 'a line between'." in say(terminal, "a line between")
    terminal.interrupt()
    terminal.wait_for("Ctrl-C again")
    terminal.wait_for(PROMPT)
    terminal.interrupt()
    assert terminal.exit_code() == 0


@pytest.mark.parametrize(
    ("question", "message"),
    [("refuse", "I will not."), ("fail", "The engine tripped."), ("break", "broke off")],
)
def test_errors_are_red_and_the_chat_goes_on(terminal, question, message):
    assert message in say(terminal, question)
    red = terminal.raw.rindex("\x1b[31m")
    assert terminal.raw.index(message, red) - red < 60
    assert "You said 'still there?'." in say(terminal, "still there?")


def test_a_server_that_goes_away_is_told():
    with FakeOpenAI() as fake:
        terminal = TerminalSession("chat", "--url", fake.url)
        terminal.wait_for(PROMPT)
    with terminal:
        assert f"No service answers at {fake.url}." in say(terminal, "hello")


def test_commands(fake, terminal):
    assert "/retry" in say(terminal, "/help")
    assert "* parrot" in say(terminal, "/models")
    say(terminal, "/model jackdaw")
    say(terminal, "/system Be brief.")
    say(terminal, "hello")
    say(terminal, "/retry")
    assert fake.bodies[-1] == fake.bodies[-2]
    assert fake.bodies[-1]["model"] == "jackdaw"
    assert fake.last_messages[0] == {"role": "system", "content": "Be brief."}
    say(terminal, "/clear")
    say(terminal, "new")
    assert [message["content"] for message in fake.last_messages] == ["Be brief.", "new"]
    assert "Did you mean /help?" in say(terminal, "/hlep")
    terminal.line("/exit")
    assert terminal.exit_code() == 0


def test_lines_can_be_edited_and_completed(fake, terminal):
    terminal.line("hexlo\x1b[D\x1b[D\x7fl")
    terminal.wait_for("You said 'hello'.")
    terminal.wait_for(PROMPT)
    terminal.type("\x1b[A")
    terminal.line("!")
    terminal.wait_for("You said 'hello!'.")
    terminal.wait_for(PROMPT)
    terminal.line("/model jack\t")
    assert "Asking jackdaw." in terminal.wait_for(PROMPT)


def test_pasted_lines_are_one_question(fake, terminal):
    terminal.line("\x1b[200~one\ntwo\x1b[201~")
    terminal.wait_for("You said")
    assert fake.last_messages[-1]["content"] == "one\ntwo"


def test_no_colours_when_they_are_not_wanted(fake):
    with TerminalSession("chat", "--url", fake.url, NO_COLOR="1") as terminal:
        terminal.wait_for(PROMPT)
        say(terminal, "refuse")
        assert "\x1b[31m" not in terminal.raw


def test_a_pipe_gets_answers_and_nothing_else(fake):
    done = run("chat", "--url", fake.url, stdin="one\n\ntwo\n")
    assert (done.returncode, done.stdout) == (0, "You said 'one'.\nYou said 'two'.\n")
    assert [message["role"] for message in fake.last_messages] == ["user", "assistant", "user"]


def test_a_pipe_with_a_failure_goes_on_and_exits_1(fake):
    done = run("chat", "--url", fake.url, stdin="refuse\ntwo\n")
    assert (done.returncode, done.stdout, done.stderr) == (1, "You said 'two'.\n", "I will not.\n")


def test_once(fake):
    done = run("chat", "jackdaw", "--url", fake.url, "--once", "hi", "--temperature", "0", "--max-tokens", 5)
    assert (done.returncode, done.stdout) == (0, "You said 'hi'.\n")
    body = fake.bodies[-1]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("jackdaw", 0, 5)
    failed = run("chat", "--url", fake.url, "--once", "refuse")
    assert (failed.returncode, failed.stdout, failed.stderr) == (1, "", "I will not.\n")


def test_json_lines(fake):
    done = run("chat", "--url", fake.url, "--json", stdin="one\ntwo\n")
    first, second = map(json.loads, done.stdout.splitlines())
    assert (first["text"], second["text"]) == ("You said 'one'.", "You said 'two'.")
    assert (first["model"], first["prompt_tokens"], first["completion_tokens"]) == ("parrot", 7, 3)
    assert first["finish_reason"] == "stop"


def test_a_running_service_answers(service):
    done = run("chat", "--once", QUESTION, "--temperature", 0, "--max-tokens", 20, PORT=str(service.port))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()


def test_ctrl_c_frees_the_slot_of_a_running_service(service):
    with TerminalSession("chat", "smollm2", "--url", service.url) as terminal:
        terminal.wait_for(PROMPT)
        terminal.line("Write a very long story about a king and a queen.")
        terminal.wait_for(r"\w+ \w+ \w+ \w+")
        terminal.interrupt()
        terminal.wait_for(r"\[stopped\]")
        deadline = time.monotonic() + 1
        while service.status("smollm2")["active_requests"]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        terminal.wait_for(PROMPT)
        terminal.line(QUESTION)
        terminal.wait_for("tokens/s", timeout=60)


def test_without_a_service_one_runs_for_the_chat(service):
    environ = {"ENGINEHOUSE_DATA_DIR": str(CACHE), "PORT": str(free_port())}
    with TerminalSession("chat", "--max-tokens", 10, "--system", "Answer in one word.", **environ) as terminal:
        terminal.wait_for("one runs here until the chat ends")
        terminal.wait_for(PROMPT)
        terminal.line(QUESTION)
        terminal.wait_for(r"tokens/s", timeout=60)
        engines = psutil.Process(terminal.process.pid).children(recursive=True)
        assert engines
        terminal.wait_for(PROMPT)
        terminal.line("Write a long story.")
        terminal.wait_for(r"\w+ \w+")
        terminal.interrupt()
        terminal.wait_for(PROMPT)
        terminal.type(CTRL_D)
        assert terminal.exit_code() == 0
    assert not [engine for engine in engines if engine.is_running()]


def test_ctrl_c_in_once_ends_quietly(fake):
    with TerminalSession("chat", "--url", fake.url, "--once", "count") as terminal:
        terminal.wait_for(r"\b5 ")
        terminal.interrupt()
        assert terminal.exit_code() == 130
        assert "Traceback" not in terminal.raw
