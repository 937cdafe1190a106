"""The official OpenAI client against the real bundled model: no mock anywhere in the path."""

import json
import math

import openai
import pytest

QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]

UNCACHED = {"extra_body": {"cache_prompt": False}}
"""The engine's own prompt cache changes the order of sums, and with it now and then a token."""


@pytest.fixture
def client(service):
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_chat(client):
    answer = client.chat.completions.create(model="smollm2", messages=QUESTION, max_tokens=16, temperature=0)
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content.strip()
    assert answer.choices[0].finish_reason in {"stop", "length"}
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 16


def test_stream_with_usage(client):
    stream = client.chat.completions.create(
        model="smollm2",
        messages=QUESTION,
        max_tokens=16,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens > 0
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert len({chunk.id for chunk in chunks}) == 1
    finished = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert finished[-1] in {"stop", "length"}
    assert set(finished[:-1]) == {None}


def test_a_stream_and_a_body_say_the_same(client):
    asked = {"model": "smollm2", "messages": QUESTION, "max_tokens": 24, "temperature": 0, **UNCACHED}
    whole = client.chat.completions.create(**asked).choices[0].message.content
    stream = client.chat.completions.create(**asked, stream=True)
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert "".join(pieces) == whole
    assert len(pieces) > 1


def test_without_the_option_a_stream_has_no_usage_chunk(client):
    stream = client.chat.completions.create(model="smollm2", messages=QUESTION, max_tokens=4, stream=True)
    assert all(chunk.choices and chunk.usage is None for chunk in stream)


SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 20},
        "population": {"type": "integer", "minimum": 0, "maximum": 99999999},
    },
    "required": ["city", "population"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("stream", [True, False])
def test_json_schema(client, stream):
    asked = {
        "model": "smollm2",
        "messages": [{"role": "user", "content": "Describe Paris as JSON."}],
        "max_tokens": 80,
        "temperature": 0,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "city", "schema": SCHEMA, "strict": True},
        },
    }
    if stream:
        chunks = client.chat.completions.create(**asked, stream=True)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    else:
        text = client.chat.completions.create(**asked).choices[0].message.content
    parsed = json.loads(text)
    assert parsed.keys() == {"city", "population"}
    assert isinstance(parsed["population"], int)


TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


def test_a_conversation_with_tools_is_taken(client):
    """The bundled model's own template knows no tools; here it need not call any more, and answers in words."""
    called = {"id": "a", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}}
    answer = client.chat.completions.create(
        model="smollm2",
        messages=[
            {"role": "user", "content": "What is the weather in Paris?"},
            {"role": "assistant", "content": None, "tool_calls": [called]},
            {"role": "tool", "tool_call_id": "a", "content": "sunny, 20 degrees"},
        ],
        tools=[TOOL],
        tool_choice="none",
        max_tokens=8,
    )
    assert answer.choices[0].finish_reason in {"stop", "length"}


def test_several_answers(client):
    answer = client.chat.completions.create(model="smollm2", messages=QUESTION, max_tokens=4, n=2)
    assert [choice.index for choice in answer.choices] == [0, 1]


def test_log_probabilities(client):
    answer = client.chat.completions.create(
        model="smollm2", messages=QUESTION, max_tokens=3, logprobs=True, top_logprobs=2, temperature=0
    )
    tokens = answer.choices[0].logprobs.content
    assert len(tokens) == answer.usage.completion_tokens
    assert all(len(token.top_logprobs) == 2 for token in tokens)


def test_text_completion(client):
    asked = {"model": "smollm2", "prompt": "Once upon a time", "max_tokens": 8, "temperature": 0, **UNCACHED}
    answer = client.completions.create(**asked)
    stream = client.completions.create(**asked, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == answer.choices[0].text
    assert answer.object == "text_completion"


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_embeddings(client, encoding):
    answer = client.embeddings.create(
        model="minilm", input=["king", "queen", "carburettor"], encoding_format=encoding
    )
    vectors = [item.embedding for item in answer.data]
    if encoding == "base64":
        import base64
        import struct

        vectors = [struct.unpack("<384f", base64.b64decode(vector)) for vector in vectors]
    king, queen, carburettor = vectors
    assert cosine(king, queen) > cosine(king, carburettor)
    assert cosine(king, queen) == pytest.approx(0.68, abs=0.03)
    assert math.hypot(*king) == pytest.approx(1, abs=1e-4)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 3


def test_models(client):
    models = {model.id: model for model in client.models.list()}
    assert {"smollm2", "minilm"} <= models.keys()
    assert client.models.retrieve("smollm2").model_extra["context_length"] == 8192
    assert models["minilm"].model_extra["type"] == "embedding"


def test_unknown_model(client):
    with pytest.raises(openai.NotFoundError) as refused:
        client.chat.completions.create(model="smolm2", messages=QUESTION)
    assert refused.value.code == "model_not_found"
    assert "smollm2" in str(refused.value)


def test_a_prompt_over_the_context(client):
    long = [{"role": "user", "content": "word " * 9000}]
    for stream in (True, False):
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(model="smollm2", messages=long, stream=stream)
        assert refused.value.code == "context_length_exceeded"
        assert "8192" in str(refused.value)


def test_a_wrong_type(client):
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="smollm2", messages=QUESTION, temperature="hot")
    assert refused.value.param == "temperature"


def test_the_async_client(service):
    import asyncio

    async def main():
        async with openai.AsyncOpenAI(base_url=f"{service.url}/v1", api_key="none") as client:
            stream = await client.chat.completions.create(
                model="smollm2", messages=QUESTION, max_tokens=8, stream=True
            )
            return [chunk async for chunk in stream]

    assert asyncio.run(main())[-1].choices[0].finish_reason in {"stop", "length"}


def test_a_response(client):
    answer = client.responses.create(model="smollm2", input="Say hello.", max_output_tokens=24, temperature=0)
    assert answer.status in {"completed", "incomplete"}
    assert answer.output_text.strip()
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens > 3


def test_a_streamed_response(client):
    with client.responses.stream(
        model="smollm2", input="Say hello.", max_output_tokens=24, temperature=0
    ) as stream:
        events = list(stream)
        final = stream.get_final_response()
    kinds = [event.type for event in events]
    assert kinds[0] == "response.created"
    assert kinds[-1] in {"response.completed", "response.incomplete"}
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == final.output_text
    assert [event.sequence_number for event in events] == sorted(event.sequence_number for event in events)


def test_what_was_asked_is_in_the_ledger(client, service):
    client.with_options(default_headers={"X-Request-ID": "counted-1"}).chat.completions.create(
        model="smollm2", messages=QUESTION, max_tokens=4
    )
    usage = service.call("/v1/llm/usage")[1]
    assert usage["requests_by_model"]["smollm2"] >= 1
    assert usage["total_tokens"] > 4
