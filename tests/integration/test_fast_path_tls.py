"""Servers asked over TLS take the fast path as well, and are told of alike where they are not to be trusted."""

import pytest

from tests.integration.authority import Authority, authority
from tests.integration.service import Service
from tests.integration.test_fast_path import CHAT, GENERALLY, SHAPES, Answer, alike, both, chat, model, taken
from tests.integration.upstream import Upstream


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    trusted = folder / "authority.pem"
    trusted.write_bytes(authority().pem)
    with Upstream(authority().serving()) as upstream, Upstream(Authority("Somebody").serving()) as stranger:
        config = {
            "data_dir": str(folder / "data"),
            "default_models": False,
            "models": {"fast": model(upstream), "slow": model(upstream), "strange": model(stranger)},
            "cache": {"enabled": True, "semantic_ttl": 0},
            "routing": {"retries": 0, "breaker_failures": 10_000},
            "auth": {"api_keys": ["sesame"]},
        }
        with Service(folder, config, environ={"SSL_CERT_FILE": str(trusted)}) as running:
            for name in config["models"]:  # the first request to a model brings it in, generally
                Answer(running, CHAT, {"model": name, **chat("text first")}, GENERALLY)
            yield running


@pytest.mark.parametrize("shape", SHAPES)
def test_both_ways_give_the_same_answer(house, shape):
    path, fields = SHAPES[shape]
    fast, slow = both(house, path, fields)
    assert (fast.status, slow.status) == (200, 200)
    assert alike(fast.body) == alike(slow.body)
    assert alike(repr(fast.head()).encode()) == alike(repr(slow.head()).encode())
    assert fast.phases() == slow.phases()


@pytest.mark.parametrize("stream", [False, True])
def test_a_server_that_is_not_to_be_trusted_is_told_of_alike(house, stream):
    before = taken(house)
    fields = {"model": "strange", **chat(f"text strange {stream}", stream=stream)}
    fast, slow = Answer(house, CHAT, fields, {}), Answer(house, CHAT, fields, GENERALLY)
    assert taken(house) == before + 1
    assert fast.status == slow.status == 502
    assert fast.body == slow.body
    assert b"SSL_CERT_FILE" in fast.body
