"""The official Ollama client against the real bundled models."""

import json

import ollama
import pytest

QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
SHORT = {"num_predict": 24, "temperature": 0}


@pytest.fixture
def client(service):
    with ollama.Client(host=service.url) as client:
        yield client


def test_a_chat(client):
    answer = client.chat("smollm2", QUESTION, options=SHORT)
    assert answer.done
    assert answer.message.role == "assistant"
    assert answer.message.content.strip()
    assert answer.done_reason in {"stop", "length"}
    assert answer.prompt_eval_count > 10
    assert 0 < answer.eval_count <= 24


def test_a_stream_is_lines_and_the_last_one_is_done(client):
    parts = list(client.chat("smollm2", QUESTION, options=SHORT, stream=True))
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert len(parts) > 2
    assert "".join(part.message.content for part in parts).strip()
    assert parts[-1].eval_count > 0


def test_generate(client):
    answer = client.generate("smollm2", "Say hello.", options=SHORT)
    assert answer.response.strip()
    raw = client.generate("smollm2", "Once upon a", raw=True, options=SHORT)
    assert raw.response.strip()


def test_a_schema_binds_the_answer(client):
    schema = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"]}
    answer = client.chat("smollm2", QUESTION, format=schema, options={"num_predict": 60, "temperature": 0})
    assert isinstance(json.loads(answer.message.content)["city"], str)


def test_vectors(client):
    answer = client.embed("minilm", ["hello", "goodbye"])
    assert [len(vector) for vector in answer.embeddings] == [384, 384]
    assert answer.prompt_eval_count > 0
    single = client.embeddings("minilm", "hello")
    assert list(single.embedding) == pytest.approx(list(answer.embeddings[0]), abs=1e-5)


def test_what_there_is(client, service):
    assert {"smollm2", "minilm"} <= {model.model for model in client.list().models}
    client.generate("smollm2")
    assert "smollm2" in {model.model for model in client.ps().models}
    shown = client.show("smollm2")
    assert "completion" in shown.capabilities
    assert service.call("/api/version")[1]["version"]


def test_an_empty_request_moves_the_model(client, service):
    client.chat("smollm2", QUESTION, options=SHORT)
    assert client.generate("smollm2", keep_alive=0).done_reason == "unload"
    service.wait_until(lambda: service.status("smollm2")["status"] == "off", 10)
    assert client.generate("smollm2").done_reason == "load"
    assert service.status("smollm2")["status"] == "ready"


def test_errors_are_ollamas(client):
    with pytest.raises(ollama.ResponseError) as unknown:
        client.chat("nobody", QUESTION)
    assert unknown.value.status_code == 404
    assert "nobody" in unknown.value.error
    with pytest.raises(ollama.ResponseError) as wrong:
        client.chat("minilm", QUESTION)
    assert wrong.value.status_code == 400
    with pytest.raises(ollama.ResponseError) as streamed:
        list(client.chat("nobody", QUESTION, stream=True))
    assert streamed.value.status_code == 404


async def test_the_asynchronous_client(service):
    client = ollama.AsyncClient(host=service.url)
    async with client._client:
        parts = [part async for part in await client.chat("smollm2", QUESTION, options=SHORT, stream=True)]
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
