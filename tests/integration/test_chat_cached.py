"""Conversations that are answered from the semantic cache, by the real embedder: whatever way they come."""

from enginehouse.client import Client
from tests.integration.service import Service
from tests.integration.upstream import Upstream


def test_a_conversation_is_answered_in_other_words_only_where_the_same_was_said_before(tmp_path):
    asked, same = "How do I reset my Gmail password?", "What's the best way to reset my gmail password please"
    with Upstream() as upstream:
        for text in (asked, same, "My name is Ann."):
            upstream.heard[text].set()
        well = {"engine": "openai", "base_url": f"{upstream.url}/well/v1", "upstream_model": "theirs"}
        semantic = {"trial": 0, "audit": 0, "deadline": 10}
        config = {"models": {"well": well}, "cache": {"enabled": True, "semantic": semantic}}
        with Service(tmp_path, config) as house, Client(house.url) as client:
            first = client.chat("one", asked, model="well")
            house.wait_until(lambda: house.call("/v1/cache/stats")[1]["semantic"]["bytes"] > 0, 30)
            second = client.chat("two", same, model="well")
            assert (first.cached, second.cached, second.response) == (None, "l2", first.response)
            with client.open_chat() as chat:
                third = chat.ask("three", same, model="well").end()
            assert (third.cached, third.text) == ("l2", first.response)
            assert same not in upstream.asked
            client.chat("four", "My name is Ann.", model="well")
            assert client.chat("four", same).cached is None
            assert client.chat("five", same, model="well", system="Be brief.").cached is None
            assert [message.content for message in client.messages("two")] == [same, first.response]
