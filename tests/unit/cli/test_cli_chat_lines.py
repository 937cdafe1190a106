"""The chat without a terminal: lines, commands, history, stops and failures, over a connection made for it."""

import io
import json
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.cli.chat.answer import Answer, read_chunk
from enginehouse.cli.chat.chat import Chat, Leave, pick_model
from enginehouse.cli.chat.commands import COMMANDS, Command, completions, help_lines, read_line
from enginehouse.cli.chat.conversation import Conversation
from enginehouse.cli.chat.plain import JsonLines, Plain, answer_lines
from enginehouse.cli.chat.terminal import converse
from enginehouse.errors import InvalidRequest, ModelNotFound, UpstreamDied

MODELS = [{"id": "a", "type": "chat", "aliases": ["first"]}, {"id": "e", "type": "embedding"}, {"id": "b"}]


class FakeConnection:
    """Answers with the given words; an exception among them is raised in its place."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    def models(self):
        return MODELS

    def stream(self, body, take):
        self.asked.append(body)
        for word in self.answers.pop(0):
            if not isinstance(word, str):
                raise word
            take(delta(word))
        take(read_chunk(b'{"choices": [{"delta": {}, "finish_reason": "stop"}]}'))


class FakeScreen:
    """Satisfies `Screen`, and what `converse` wants of a terminal; reads the given lines."""

    def __init__(self, *lines):
        self.lines = list(lines)
        self.shown, self.notes, self.failures = "", [], []

    def read(self):
        line = self.lines.pop(0)
        if not isinstance(line, str):
            raise line
        return line

    @contextmanager
    def answering(self, model):
        yield self._show

    def _show(self, piece):
        self.shown += piece.text

    def ended(self, model, answer):
        self.shown += "|"

    def note(self, text):
        self.notes.append(text)

    def failed(self, message):
        self.failures.append(message)


def delta(text):
    return read_chunk(json.dumps({"choices": [{"delta": {"content": text}}]}).encode())


def answer_of(*texts, finished=True):
    answer = Answer(0.0)
    for text in texts:
        answer.add(delta(text), 0.0)
    answer.finish_reason = "stop" if finished else None
    return answer


def chat(connection, screen=None, **options):
    return Chat(connection, Conversation("a", **options), screen or FakeScreen(), clock=lambda: 0.0)


def contents(body):
    return [message["content"] for message in body["messages"]]


# Conversation --------------------------------------------------------------------------------------------


def test_every_request_carries_the_whole_conversation():
    conversation = Conversation("a", system="Be brief.", temperature=0.0, max_tokens=9)
    conversation.ask("one")
    conversation.keep(answer_of("1"))
    conversation.ask("two")
    body = conversation.request()
    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "user"]
    assert contents(body) == ["Be brief.", "one", "1", "two"]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("a", 0.0, 9)
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})


def test_what_was_not_said_is_not_sent():
    conversation = Conversation("a")
    conversation.ask("one")
    assert conversation.request().keys() == {"model", "messages", "stream", "stream_options"}


def test_a_stopped_answer_is_kept_as_far_as_it_came():
    conversation = Conversation("a")
    conversation.ask("one")
    conversation.keep(answer_of("hal", finished=False))
    conversation.ask("two")
    assert contents(conversation.request()) == ["one", "hal", "two"]


def test_a_question_without_a_word_of_answer_is_taken_back_but_not_forgotten():
    conversation = Conversation("a")
    conversation.ask("one")
    conversation.keep(answer_of(finished=False))
    assert conversation.turns == []
    assert conversation.again() == "one"


def test_an_answer_may_be_empty():
    conversation = Conversation("a")
    conversation.ask("one")
    conversation.keep(answer_of())
    assert [turn.answer for turn in conversation.turns] == [""]


def test_again_takes_back_the_last_turn_and_nothing_else():
    conversation = Conversation("a")
    assert conversation.again() is None
    for question in ("one", "two"):
        conversation.ask(question)
        conversation.keep(answer_of("x"))
    assert conversation.again() == "two"
    assert [turn.question for turn in conversation.turns] == ["one"]


@given(st.lists(st.tuples(st.sampled_from(["answered", "stopped", "lost", "again", "clear"]), st.text(min_size=1))))
def test_roles_alternate_whatever_happens(steps):
    conversation = Conversation("a", system="s")
    for what, text in steps:
        if what == "clear":
            conversation.clear()
        elif (question := conversation.again() if what == "again" else text) is not None:
            conversation.ask(question)
            conversation.keep(answer_of(*[text] * (what != "lost"), finished=what == "answered"))
    conversation.ask("last")
    roles = [message["role"] for message in conversation.request()["messages"]]
    assert roles == ["system", *["user", "assistant"] * (len(roles) // 2 - 1), "user"]


# Lines ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        ("hello", "hello"),
        ("  hello ", "hello"),
        (" /help", "/help"),
        ("", ""),
        ("/exit", Command("exit")),
        ("/system  Be brief. ", Command("system", "Be brief.")),
        ("/model llama3.1:8b", Command("model", "llama3.1:8b")),
    ],
)
def test_what_a_line_means(line, meaning):
    assert read_line(line) == meaning


@pytest.mark.parametrize(
    ("line", "hint"), [("/hlep", "/help"), ("/etc/hosts is what?", "/help lists"), ("/", "/help")]
)
def test_a_command_that_is_none_is_told_with_what_to_do(line, hint):
    with pytest.raises(InvalidRequest, match=hint):
        read_line(line)


def test_help_names_every_command():
    text = "\n".join(help_lines())
    assert all(f"/{name}" in text for name in COMMANDS)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("/m", ["/models", "/model"]),
        ("/model ", ["ant", "bee"]),
        ("/model b", ["bee"]),
        ("/system b", []),
        ("hello", []),
        ("", []),
    ],
)
def test_completions(line, found):
    assert completions(line, ["ant", "bee"]) == found


@pytest.mark.parametrize(
    ("preferred", "picked"), [(None, "a"), ("b", "b"), ("first", "first"), ("e", "a"), ("gone", "a")]
)
def test_the_model_that_is_asked_by_default(preferred, picked):
    assert pick_model(MODELS, preferred) == picked


def test_no_model_chats():
    assert pick_model([MODELS[1]], None) is None


# Chat ----------------------------------------------------------------------------------------------------


def test_questions_are_answered_and_remembered():
    connection, screen = FakeConnection(["1", "!"], ["2"]), FakeScreen()
    talk = chat(connection, screen)
    talk.obey("one")
    talk.obey("")
    talk.obey("two")
    assert screen.shown == "1!|2|"
    assert contents(connection.asked[1]) == ["one", "1!", "two"]


def test_retry_asks_the_same_again():
    connection = FakeConnection(["1"], ["2"])
    talk = chat(connection)
    talk.obey("one")
    talk.obey("/retry")
    assert connection.asked[0] == connection.asked[1]
    assert [turn.answer for turn in talk.conversation.turns] == ["2"]


def test_retry_after_a_failure_asks_what_failed():
    connection = FakeConnection([UpstreamDied("gone")], ["1"])
    talk = chat(connection)
    with pytest.raises(UpstreamDied):
        talk.obey("one")
    talk.obey("/retry")
    assert contents(connection.asked[1]) == ["one"]


def test_retry_of_nothing():
    with pytest.raises(InvalidRequest):
        chat(FakeConnection()).obey("/retry")


def test_every_command_is_obeyed():
    for name in COMMANDS.keys() - {"exit", "retry"}:
        screen = FakeScreen()
        chat(FakeConnection(), screen).obey(f"/{name}")
        assert screen.notes, name
    with pytest.raises(Leave):
        chat(FakeConnection()).obey("/exit")


def test_models_that_do_not_chat_are_not_offered():
    screen = FakeScreen()
    chat(FakeConnection(), screen).obey("/models")
    assert screen.notes == ["* a\n  b"]


def test_another_model_is_prepared_before_it_is_asked():
    prepared = []

    def prepare(name):
        prepared.append(name)
        if name == "nobody":
            raise ModelNotFound(name)

    connection = FakeConnection(["1"])
    talk = Chat(connection, Conversation("a"), FakeScreen(), prepare=prepare)
    talk.obey("/model b")
    with pytest.raises(ModelNotFound):
        talk.obey("/model nobody")
    talk.obey("one")
    assert (prepared, connection.asked[0]["model"]) == (["b", "nobody"], "b")


# Loops ---------------------------------------------------------------------------------------------------


def test_ctrl_c_stops_an_answer_and_the_chat_goes_on():
    connection = FakeConnection(["hal", KeyboardInterrupt()], ["2"])
    screen = FakeScreen("one", "two", EOFError())
    converse(chat(connection, screen), screen)
    assert (screen.shown, screen.notes) == ("hal|2|", ["[stopped]"])
    assert contents(connection.asked[1]) == ["one", "hal", "two"]


def test_ctrl_c_at_the_prompt_leaves_only_when_it_comes_twice():
    screen = FakeScreen(KeyboardInterrupt(), "one", KeyboardInterrupt(), KeyboardInterrupt(), "never read")
    converse(chat(FakeConnection(["1"]), screen), screen)
    assert screen.lines == ["never read"]
    assert len(screen.notes) == 2


def test_a_failure_is_shown_and_the_chat_goes_on():
    screen = FakeScreen("one", "two", "/exit", "never read")
    converse(chat(FakeConnection([UpstreamDied("gone")], ["2"]), screen), screen)
    assert (screen.failures, screen.shown, screen.lines) == (["gone"], "|2|", ["never read"])


def test_a_pipe_gets_the_answers_alone():
    out, err = io.StringIO(), io.StringIO()
    screen = Plain(out, err)
    connection = FakeConnection(["1"], [UpstreamDied("gone")], ["3"])
    failures = answer_lines(chat(connection, screen), ["one\n", "/system x\n", "two\r\n", "three"], screen)
    assert (failures, out.getvalue()) == (1, "1\n3\n")
    assert err.getvalue() == "The system text is set.\ngone\n"


def test_ctrl_c_ends_a_pipe():
    screen = Plain(io.StringIO(), io.StringIO())
    with pytest.raises(KeyboardInterrupt):
        answer_lines(chat(FakeConnection(["1", KeyboardInterrupt()]), screen), ["one", "two"], screen)


def test_json_lines_hold_what_a_program_wants():
    out = io.StringIO()
    screen = JsonLines(out, io.StringIO())
    answer_lines(chat(FakeConnection(["naïve", "\n"]), screen), ["one"], screen)
    (line,) = out.getvalue().splitlines()
    assert json.loads(line) == {
        "model": "a",
        "text": "naïve\n",
        "finish_reason": "stop",
        "prompt_tokens": None,
        "completion_tokens": None,
        "ttft": 0.0,
        "seconds": 0.0,
        "tokens_per_second": None,
    }
