"""The decision as a whole, with an embedder that knows words only."""

import asyncio
import zlib

import numpy as np
import pytest

from enginehouse.core.cache.semantic.index import open_index
from enginehouse.core.cache.semantic.mind import Mind
from enginehouse.core.cache.semantic.scorer import shipped
from enginehouse.core.cache.semantic.semantic import Semantic
from enginehouse.core.cache.semantic.signature import sign
from enginehouse.errors import StoreUnavailable
from enginehouse.settings.schema import SemanticCacheSettings

SCOPE, OTHER = b"scope-1", b"scope-2"
STORED = "How do I water an orchid?"
SAME, KNOWN, TRAP = "how can I water my orchid please", "How do I water an orchid plant", "How do I water a cactus?"


class Words:
    """Bags of hashed words as vectors: near for texts that share words."""

    def __init__(self):
        self.calls, self.error, self.hangs = 0, None, False

    async def __call__(self, texts):
        self.calls += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.error:
            raise self.error
        return [self.vector(text) for text in texts]

    def vector(self, text):
        vector = np.full(384, 0.3)
        for word in text.split():
            vector[zlib.crc32(word.strip("?").encode()) % 384] += 1
        return vector / np.linalg.norm(vector)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Setting:
    """A semantic cache and its edges."""

    def __init__(self, index, **settings):
        self.words, self.clock, self.chances = Words(), Clock(), [1.0]
        self.settings = SemanticCacheSettings.model_validate({"trial": 2, **settings})
        self.index = index
        self.mind = Mind(self.words, 0.01)
        self.cache = Semantic(index, self.mind, shipped(), self.settings, self.clock, lambda: self.chances[-1])


@pytest.fixture
async def index(tmp_path):
    async with open_index(tmp_path / "questions.db", lasting=True, max_bytes=10**7) as index:
        yield index


@pytest.fixture
async def setting(index):
    setting = Setting(index)
    await setting.cache.put(SCOPE, STORED, "e1")
    return setting


async def test_equal_content_is_served_at_once(setting):
    match = await setting.cache.find(SCOPE, SAME)
    assert (match.entry, match.serve) == ("e1", True)
    assert match.probability <= setting.settings.max_error
    assert match.explanation.candidates[0].similarity > 0.7
    assert setting.cache.stats()["hits"] == 1


async def test_another_scope_has_nothing_and_asks_no_embedder(setting):
    calls = setting.words.calls
    assert await setting.cache.find(OTHER, STORED) is None
    assert setting.words.calls == calls


async def test_a_trap_is_vetoed_and_counted(setting):
    assert await setting.cache.find(SCOPE, TRAP) is None
    assert setting.cache.stats()["vetoes"] == {"minimal_edit": 1}
    explanation = await setting.cache.explain(SCOPE, TRAP)
    assert explanation.candidates[0].vetoes == ("minimal_edit",)
    assert explanation.candidates[0].probability is None


async def test_a_miss_is_explained_without_what_was_kept_of_it_later(setting):
    await setting.cache.put(SCOPE, TRAP, "e2")
    explanation = await setting.cache.explain(SCOPE, TRAP, without=frozenset({"e2"}))
    assert [one.entry for one in explanation.candidates] == ["e1"]
    assert explanation.candidates[0].vetoes == ("minimal_edit",)
    assert explanation.reason == ""


async def test_no_cosine_is_above_one(setting):
    for number in range(20):
        text = f"How do I water {number} roses in the garden behind house {number}?"
        await setting.cache.put(OTHER, text, f"r{number}")
        assert (await setting.cache.explain(OTHER, text)).candidates[0].similarity <= 1


async def test_the_surest_of_several_is_served_not_the_nearest(setting):
    await setting.cache.put(SCOPE, "How can I water my cactus please", "e2")
    assert (await setting.cache.find(SCOPE, SAME)).entry == "e1"


async def test_known_words_are_on_trial_until_the_labels_bear_them_out(setting):
    await setting.cache.put(SCOPE, "How do I delete a photo?", "e2")
    for _ in range(2):
        match = await setting.cache.find(SCOPE, "How do I remove a photo?")
        assert (match.entry, match.serve, match.explanation.shadow) == ("e2", False, True)
        await setting.cache.learn(SCOPE, "How do I remove a photo?", "e2", kept="Press X.", fresh="press x")
    assert (await setting.cache.find(SCOPE, "How do I remove a photo?")).serve
    stats = setting.cache.stats()
    assert (stats["shadow_hits"], stats["audited"], stats["wrong"], stats["hits"]) == (2, 2, 0, 1)
    assert stats["wrong_rate"]["high"] < 1


async def test_some_hits_are_audited(setting):
    setting.chances.append(0.01)
    match = await setting.cache.find(SCOPE, SAME)
    assert (match.entry, match.serve) == ("e1", False)
    assert setting.cache.stats()["audits"] == 1


async def test_a_pair_that_was_wrong_never_matches_again(setting):
    await setting.cache.learn(SCOPE, SAME, "e1", kept="Daily.", fresh="Never.")
    assert await setting.cache.find(SCOPE, SAME) is None
    assert (await setting.cache.find(SCOPE, STORED)).entry == "e1"


async def test_audits_that_fail_switch_the_scope_off_and_a_day_later_on_again(setting):
    for number in range(4):
        await setting.cache.learn(SCOPE, f"What about {number} orchids?", "e1", kept="Daily.", fresh="Never.")
    assert await setting.cache.find(SCOPE, SAME) is None
    assert "off" in (await setting.cache.explain(SCOPE, SAME)).reason
    assert setting.cache.stats()["alarms"] == 2
    setting.clock.now = 86_400.0
    assert (await setting.cache.find(SCOPE, SAME)).serve


async def test_entries_judged_wrong_elsewhere_are_left_out(setting):
    assert await setting.cache.find(SCOPE, SAME, without=frozenset({"e1"})) is None


@pytest.mark.parametrize(("wanted", "found"), [(0.02, True), (0.01, True), (0.0001, False)])
async def test_a_caller_may_want_less_error_never_more(setting, wanted, found):
    assert (await setting.cache.find(SCOPE, SAME, max_error=wanted) is not None) == found


async def test_what_is_forgotten_is_gone(setting):
    assert await setting.cache.find(SCOPE, STORED) is not None
    await setting.cache.forget(["e1", "unknown"])
    calls = setting.words.calls
    assert await setting.cache.find(SCOPE, STORED) is None
    assert setting.words.calls == calls, "nothing is left to look at, in memory either"
    assert await setting.index.count() == 0


async def test_an_answered_anew_question_has_its_new_place(setting):
    await setting.cache.put(OTHER, STORED, "e1")
    assert await setting.cache.find(SCOPE, STORED) is None
    assert (await setting.cache.find(OTHER, STORED)).entry == "e1"


async def test_while_its_embedder_is_away_all_are_misses(setting):
    setting.words.error = StoreUnavailable("away")
    assert await setting.cache.find(SCOPE, STORED) is None
    assert setting.cache.stats()["embedder"] == "resting"
    setting.words.error = None
    assert await setting.cache.find(SCOPE, STORED) is None, "until the watch has seen that it is back"
    assert "in time" in (await setting.cache.explain(SCOPE, STORED)).reason


async def test_what_was_answered_speaks_for_a_question_that_asks_for_more(setting):
    asked = "How do I water an orchid in winter?"
    await setting.cache.put(SCOPE, STORED, "e1", answer="Give it a little water once a week, less in the winter.")
    told = (await setting.cache.explain(SCOPE, asked)).candidates[0]
    await setting.cache.put(SCOPE, STORED, "e1")
    silent = (await setting.cache.explain(SCOPE, asked)).candidates[0]
    assert told.probability < silent.probability


async def test_questions_without_content_are_left(setting):
    await setting.cache.put(SCOPE, "and then?", "e9")
    assert await setting.cache.find(SCOPE, "and then?") is None
    assert "content" in (await setting.cache.explain(SCOPE, "and then?")).reason


async def test_answers_that_cannot_be_compared_are_no_label(setting):
    long = "Fill the can, wait until the soil is dry, pour slowly around the roots and empty the saucer afterwards"
    other = "Call the shop, describe the trouble, ask for the manager, wait for a letter and send it back signed"
    setting.words.error = StoreUnavailable("away")
    await setting.cache.learn(SCOPE, SAME, "e1", kept=long, fresh=other)
    assert setting.cache.stats()["undecided"] == 1
    assert setting.cache.stats()["audited"] == 0


@pytest.mark.parametrize(("lasting", "found"), [(True, "e1"), (False, None)])
async def test_questions_outlive_the_process_only_where_answers_do(tmp_path, lasting, found):
    for life in range(2):
        async with open_index(tmp_path / "questions.db", lasting=lasting, max_bytes=10**7) as index:
            setting = Setting(index)
            if life == 0:
                await setting.cache.put(SCOPE, STORED, "e1")
            else:
                match = await setting.cache.find(SCOPE, SAME)
                assert (match and match.entry) == found


async def test_where_nothing_is_stored_and_no_embedder_is_there_no_question_is_read(index):
    setting, read = Setting(index), sign.cache_info().misses
    setting.words.error = StoreUnavailable("away")
    watch = asyncio.create_task(setting.mind.watch())
    await setting.cache.put(SCOPE, "How do I prune a rose that nobody has seen?", "e1")
    await asyncio.sleep(0.01)
    for number in range(3):
        assert await setting.cache.find(SCOPE, f"How do I prune rose {number}, which nobody has seen?") is None
        await setting.cache.put(SCOPE, f"How do I prune rose {number}, which nobody has seen?", f"e{number}")
    watch.cancel()
    assert sign.cache_info().misses == read + 1
