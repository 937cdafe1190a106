"""The real bundled model calls a tool when it has to, on every face that can say so, and never as mere text."""

import json

import pytest
from anthropic import Anthropic
from openai import BadRequestError, OpenAI

CITY = {
    "type": "object",
    "properties": {"city": {"$ref": "#/$defs/City"}},
    "required": ["city"],
    "additionalProperties": False,
    "$defs": {"City": {"type": "string", "enum": ["Paris", "Rome"]}},
}
CLOCK = {"type": "object", "properties": {}, "additionalProperties": False}
TURNS = [{"role": "user", "content": "What is the weather in Paris?"}]
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": parameters}}
    for name, parameters in (("get_weather", CITY), ("tell_time", CLOCK))
]
NAMED = {"type": "function", "function": {"name": "get_weather"}}
ASKED = {"model": "smollm2", "max_tokens": 60, "temperature": 0}


@pytest.fixture(scope="module")
def client(service):
    with OpenAI(base_url=f"{service.url}/v1", api_key="x", max_retries=0) as openai:
        yield openai


def arguments_of(text):
    arguments = json.loads(text)
    assert (set(arguments), arguments["city"] in {"Paris", "Rome"}) == ({"city"}, True)
    return arguments


def test_a_chat_answers_with_the_named_call(client):
    answer = client.chat.completions.create(messages=TURNS, tools=TOOLS, tool_choice=NAMED, **ASKED)
    [choice] = answer.choices
    [call] = choice.message.tool_calls
    assert (choice.finish_reason, choice.message.content, call.function.name) == ("tool_calls", None, "get_weather")
    arguments_of(call.function.arguments)
    assert answer.usage.completion_tokens > 5


def test_a_chat_that_has_to_call_something_does(client):
    stream = client.chat.completions.create(
        messages=TURNS,
        tools=TOOLS,
        tool_choice="required",
        stream=True,
        stream_options={"include_usage": True},
        **ASKED,
    )
    chunks = list(stream)
    choices = [choice for chunk in chunks for choice in chunk.choices]
    [call] = [call for choice in choices for call in choice.delta.tool_calls or ()]
    assert call.function.name in {"get_weather", "tell_time"}
    assert isinstance(json.loads(call.function.arguments), dict)
    assert not any(choice.delta.content for choice in choices)
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["tool_calls"]
    assert chunks[-1].usage.completion_tokens > 5


def test_responses_answer_with_a_call(client):
    tool = {"type": "function", "name": "get_weather", "parameters": CITY, "strict": False}
    answer = client.responses.create(
        model="smollm2", input=TURNS, tools=[tool], tool_choice="required", max_output_tokens=60, temperature=0
    )
    [call] = [item for item in answer.output if item.type == "function_call"]
    assert (call.name, answer.status) == ("get_weather", "completed")
    arguments_of(call.arguments)


def test_messages_answer_with_a_call(service):
    tool = {"name": "get_weather", "input_schema": CITY}
    with (
        Anthropic(base_url=service.url, api_key="x", max_retries=0) as anthropic,
        anthropic.messages.stream(
            model="smollm2", max_tokens=60, messages=TURNS, tools=[tool], tool_choice={"type": "any"}
        ) as stream,
    ):
        message = stream.get_final_message()
    [block] = message.content
    assert (message.stop_reason, block.type, block.name) == ("tool_use", "tool_use", "get_weather")
    arguments_of(json.dumps(block.input))


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_would_not_hear_of_the_tools_says_so(client, stream):
    with pytest.raises(BadRequestError, match="knows no tools") as caught:
        client.chat.completions.create(messages=TURNS, tools=TOOLS, stream=stream, **ASKED)
    assert caught.value.param == "tools"


def test_ollamas_clients_hear_it_too(service):
    body = {"model": "smollm2", "messages": TURNS, "tools": TOOLS, "stream": False}
    status, told, _ = service.call("/api/chat", body)
    assert status == 400
    assert "knows no tools" in told["error"]


def test_the_list_does_not_promise_them(service):
    assert "tools" not in service.call("/v1/models/smollm2")[1]["capabilities"]


def test_who_wants_no_call_gets_words(client):
    answer = client.chat.completions.create(
        messages=TURNS, tools=TOOLS, tool_choice="none", **{**ASKED, "max_tokens": 3}
    )
    assert answer.choices[0].message.content
