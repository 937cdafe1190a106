"""Stored keys on SQLite, what a key looks like, and the secret that they are hashed with."""

import asyncio
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import StaticPool, create_engine

from enginehouse.core.identity.keys import Hasher, Key, id_of, key_from, new_text, row_from
from enginehouse.core.identity.management import Wanted
from enginehouse.core.identity.secret import FILE_NAME, key_secret
from enginehouse.errors import SettingsError
from enginehouse.settings.schema import AuthSettings
from enginehouse.stores.sql import database_url, open_database, prepare
from enginehouse.stores.sql.metadata import METADATA
from enginehouse.testing import simulate
from enginehouse.types import Allowance, Rate, Rates
from tests.keys_contract import *  # noqa: F403 - the tests themselves
from tests.keys_contract import NOW, Replica


@pytest.fixture
async def database(tmp_path):
    async with open_database(database_url("", tmp_path)) as opened:
        await prepare(opened)
        yield opened


class Inline:
    """A database of which every transaction happens at once, without a thread, so that time may be simulated."""

    def __init__(self):
        self._engine = create_engine("sqlite://", poolclass=StaticPool)
        METADATA.create_all(self._engine)

    async def read(self, work):
        with self._engine.connect() as connection:
            return work(connection)

    async def write(self, work):
        with self._engine.begin() as connection:
            return work(connection)


@pytest.mark.parametrize("pause", [0.0, 0.1, 0.39, 0.41, 5.03])
def test_what_changes_here_counts_elsewhere_within_a_second(pause):
    async def main():
        database, clock = Inline(), asyncio.get_running_loop().time
        here, there = Replica(database), Replica(database)
        key, shown = await here.keys.create(Wanted(user_id="ann"), "root")
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(there.keyring.run())
            await asyncio.sleep(1)
            assert await there.user(shown) == "ann"
            await asyncio.sleep(pause)
            revoked = clock()
            await here.keys.revoke(key.id)
            while await there.knows(shown):
                assert clock() - revoked < 1
                await asyncio.sleep(0.01)
            following.cancel()

    simulate(main())


def test_both_comparisons_are_made_whatever_is_known():
    """The work of a refusal does not depend on what is kept."""
    hasher = Hasher(b"s" * 32)
    text_ = new_text("aaaaaaaaaaaa")
    key = Key(id="aaaaaaaaaaaa", digest=hasher.digest(text_), user_id="ann", created=NOW)
    assert hasher.fits(text_, key, NOW)
    assert not hasher.fits(text_, None, NOW)
    assert not hasher.fits(text_[:-1] + ("A" if text_[-1] != "A" else "B"), key, NOW)


@given(st.text(max_size=80))
def test_only_what_was_made_is_a_key(text_):
    real = new_text("abcdefghijkl")
    assert id_of(real) == "abcdefghijkl"
    assert id_of(text_) is None
    assert id_of(real + text_) == ("abcdefghijkl" if not text_ else None)
    assert id_of(real[:-1] + "é") is None
    assert id_of(real + "\n") is None


names = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=20)
rates = st.one_of(st.none(), st.builds(Rate, st.integers(1, 10**9), st.integers(1, 10**6)))


@given(
    st.builds(
        Key,
        id=st.just("a"),
        digest=st.just("d"),
        user_id=names,
        created=st.integers(0, 10**10),
        models=st.lists(names).map(tuple),
        tags=st.lists(names).map(tuple),
        limits=st.builds(Rates, requests=rates, tokens=rates, concurrent=st.one_of(st.none(), st.integers(1, 99))),
        budget=st.one_of(st.none(), st.builds(Allowance, dollars=st.just("1.5"), period=st.just("day"))),
        expires=st.one_of(st.none(), st.integers(0, 10**10)),
    )
)
def test_a_row_is_the_key(key):
    assert key_from(row_from(key)) == key


# The secret ----------------------------------------------------------------------------------------------


def test_the_secret_is_made_once_and_for_its_owner_only(tmp_path):
    made = key_secret(AuthSettings(), tmp_path / "new")
    assert len(made) == 64
    assert key_secret(AuthSettings(), tmp_path / "new") == made
    assert stat.S_IMODE((tmp_path / "new" / FILE_NAME).stat().st_mode) == 0o600
    assert [file.name for file in (tmp_path / "new").iterdir()] == [FILE_NAME]
    assert key_secret(AuthSettings(), tmp_path / "other") != made


def test_the_settings_come_first(tmp_path):
    assert key_secret(AuthSettings(key_secret=SecretStr("given")), tmp_path / "new") == b"given"
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("content", "mode"), [("short", 0o600), ("x" * 64, 0o640), ("x" * 64, 0o604)])
def test_a_secret_that_is_damaged_or_seen_by_others_is_refused(tmp_path, content, mode):
    file = tmp_path / FILE_NAME
    file.write_text(content)
    file.chmod(mode)
    with pytest.raises(SettingsError) as refused:
        key_secret(AuthSettings(), tmp_path)
    assert content not in refused.value.message
