"""The official Anthropic client against the real bundled model."""

import json

import anthropic
import pytest

QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
ASKED = {"model": "smollm2", "messages": QUESTION, "max_tokens": 24, "extra_body": {"temperature": 0}}


@pytest.fixture
def client(service):
    with anthropic.Anthropic(base_url=service.url, api_key="none", max_retries=0) as client:
        yield client


def test_a_message(client):
    answer = client.messages.create(**ASKED, system="You answer in one word.")
    assert (answer.type, answer.role, answer.model) == ("message", "assistant", "smollm2")
    assert answer.content[0].type == "text"
    assert answer.content[0].text.strip()
    assert answer.stop_reason in {"end_turn", "max_tokens"}
    assert answer.usage.input_tokens > 10
    assert 0 < answer.usage.output_tokens <= 24


def test_a_stream_and_a_message_say_the_same(client):
    whole = client.messages.create(**ASKED).content[0].text
    with client.messages.stream(**ASKED) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert "".join(pieces) == final.content[0].text
    assert len(pieces) > 1
    assert final.content[0].text[:8] == whole[:8]
    assert final.usage.output_tokens > 1


def test_the_events_of_a_stream_stand_in_anthropics_order(client):
    kinds = [event.type for event in client.messages.create(**ASKED, stream=True)]
    inner = [kind for kind in kinds if kind != "ping"]
    assert inner[:2] == ["message_start", "content_block_start"]
    assert set(inner[2:-3]) == {"content_block_delta"}
    assert inner[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_a_stop_sequence_is_told(client):
    story = [{"role": "user", "content": "Count: one, two, three, four, five, six. Repeat it."}]
    answer = client.messages.create(
        **{**ASKED, "messages": story, "max_tokens": 60}, stop_sequences=["three", "Three"]
    )
    assert "three" not in answer.content[0].text.lower()


def test_tokens_are_counted_as_the_engine_counts_them(client):
    counted = client.messages.count_tokens(model="smollm2", messages=QUESTION).input_tokens
    usage = client.messages.create(**ASKED).usage
    assert counted == usage.input_tokens + usage.cache_read_input_tokens


def test_errors_are_anthropics_classes(client):
    with pytest.raises(anthropic.NotFoundError) as unknown:
        client.messages.create(**{**ASKED, "model": "nobody"})
    assert unknown.value.body["error"]["type"] == "not_found_error"
    with pytest.raises(anthropic.BadRequestError) as wrong:
        client.messages.create(**{**ASKED, "max_tokens": -1})
    assert "max_tokens" in wrong.value.body["error"]["message"]
    with pytest.raises(anthropic.BadRequestError) as long:
        client.messages.create(**{**ASKED, "messages": [{"role": "user", "content": "word " * 30_000}]})
    assert "context" in long.value.body["error"]["message"]


def test_a_client_that_leaves_a_stream_frees_the_slot(client, service):
    story = [{"role": "user", "content": "Tell me a very long story."}]
    with client.messages.stream(**{**ASKED, "messages": story, "max_tokens": 2000}) as stream:
        next(iter(stream.text_stream))
    service.wait_until(lambda: service.status("smollm2")["active_requests"] == 0, 5)


def test_the_list_of_models(client):
    listed = {model.id: model for model in client.models.list()}
    assert {"smollm2", "minilm"} <= listed.keys()
    assert listed["smollm2"].type == "model"
    assert listed["smollm2"].display_name == "SmolLM2 135M Instruct"
    assert listed["smollm2"].max_input_tokens == 8192
    assert listed["smollm2"].created_at.tzinfo is not None
    assert [model.id for model in client.models.list(limit=1)] == list(listed)
    assert client.models.retrieve("smollm2") == listed["smollm2"]
    with pytest.raises(anthropic.NotFoundError) as unknown:
        client.models.retrieve("nobody")
    assert unknown.value.body["error"]["type"] == "not_found_error"


def test_a_schema_binds_the_answer(client):
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 12}},
        "required": ["city"],
        "additionalProperties": False,
    }
    answer = client.messages.create(
        **{**ASKED, "max_tokens": 40}, output_config={"format": {"type": "json_schema", "schema": schema}}
    )
    assert json.loads(answer.content[0].text).keys() == {"city"}


async def test_the_asynchronous_client(service):
    async with (
        anthropic.AsyncAnthropic(base_url=service.url, api_key="none") as client,
        client.messages.stream(**ASKED) as stream,
    ):
        pieces = [piece async for piece in stream.text_stream]
        final = await stream.get_final_message()
    assert "".join(pieces) == final.content[0].text
