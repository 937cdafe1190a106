"""What is taken out of prompts, answers and lines of the log, and what stays."""

import time

import pytest

from enginehouse.telemetry.redaction import Redactor, scrubbed
from enginehouse.testing import WHOLE
from tests.unit.telemetry.test_telemetry_api import CHAT, DONE, HELLO, STREAM, Callers, at_the_door

SECRETS = [
    "sk-proj-abcdefghijklmnop1234",
    "sk-ant-api03-AbCdEfGhIjKlMnOp",
    "eh_abcdefghijkl_ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopq",
    "hf_AbCdEfGhIjKlMnOpQrSt",
    "ghp_AbCdEfGhIjKlMnOpQrStUvWxYz",
    "AKIAIOSFODNN7EXAMPLE",
    "AIzaSyA1234567890abcdefghijk",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_keys_and_tokens_are_taken_out_everywhere(secret):
    for text in (secret, f"my key is {secret}, thanks", f'{{"api_key": "{secret}"}}', f"x={secret}&y"):
        assert secret not in scrubbed(text)
        assert "[secret]" in Redactor()(text)


def test_passwords_of_addresses_and_bearer_tokens_are_taken_out():
    assert scrubbed("postgresql://ann:secret@db/x") == "postgresql://[secret]@db/x"
    assert scrubbed("Authorization: Bearer abcdefgh12345") == "Authorization: Bearer [secret]"


@pytest.mark.parametrize(
    "text",
    [
        "A task-force asked for a risk-averse plan in https://example.org/path.",
        "whisky-and-soda, disk-0123456789, 2026-11-21T22:30:01, order 1234567890123456",
        "sk-short, the hf_hub, eh? ok.",
        "0644d5ad4f0b6c9f2d5c31a7b8",
    ],
)
def test_what_is_none_stays(text):
    assert Redactor()(text) == text


def test_addresses_card_numbers_and_own_rules():
    redact = Redactor([r"PRJ-\d+", "(?i)zebra"])
    assert redact("Write to ann.lee+x@mail.example.org.") == "Write to [email]."
    assert redact("Pay 4111 1111 1111 1111 or 5500-0000-0000-0004") == "Pay [card] or [card]"
    assert redact("PRJ-77: the Zebra") == "[redacted]: the [redacted]"


HOSTILE = ["sk-", "eyJ-", "eyJ", "a.", "1 ", "://a:", "a@b.", "Bearer ", "ghp_x "]


@pytest.mark.parametrize("part", HOSTILE)
def test_hostile_texts_take_no_time(part):
    began = time.perf_counter()
    Redactor()(part * (16_384 // len(part)))
    assert time.perf_counter() - began < 1


TURNS = [("user", "old"), ("assistant", "yes"), ("user", "I am ann@example.org, sk-abcdefghijklmnop1234, a zebra")]
SAID = {**HELLO, "messages": [{"role": role, "content": text} for role, text in TURNS]}


@at_the_door(chunks=[WHOLE], heard=True, callers=Callers())
async def test_what_is_said_is_kept_without_secrets(door):
    await door.post(CHAT, SAID, x_api_key="ann", x_request_id="r")
    whole = (await door.call("GET", "/v1/telemetry/requests/r", x_api_key="ann")).json()
    assert whole["prompt"] == "I am [email], [secret], a [redacted]"
    assert whole["answer"] == "hi"
    listed = (await door.call("GET", "/v1/telemetry/requests", x_api_key="ann")).json()["data"][0]
    assert "prompt" not in listed
    assert (await door.call("GET", "/v1/telemetry/requests/r", x_api_key="bob")).status == 404


@at_the_door(chunks=[b'data: {"choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'] * 50 + [DONE], heard=True)
async def test_of_a_stream_no_more_is_kept_than_shall_be(door):
    await door.post(CHAT, STREAM, x_request_id="r")
    whole = (await door.call("GET", "/v1/telemetry/requests/r")).json()
    assert whole["answer"] == "word " * 20


@at_the_door(chunks=[WHOLE])
async def test_nothing_is_kept_unless_it_is_switched_on(door):
    await door.post(CHAT, SAID, x_request_id="r")
    whole = (await door.call("GET", "/v1/telemetry/requests/r")).json()
    assert (whole["prompt"], whole["answer"]) == (None, None)
