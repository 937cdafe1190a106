"""Stored keys: made, shown once, rotated, revoked, and known within a second everywhere, on every database.

Each test takes the fixture `database`: an open database, migrated and empty.
"""

import asyncio

import pytest
from sqlalchemy import select, text

from enginehouse.core.identity import Identity
from enginehouse.core.identity.keyring import Keyring
from enginehouse.core.identity.keys import Hasher
from enginehouse.core.identity.management import Keys, Wanted
from enginehouse.errors import (
    Conflict,
    InvalidRequest,
    MissingCredentials,
    NotFound,
    SettingsError,
    StoreUnavailable,
)
from enginehouse.settings.schema import AuthSettings
from enginehouse.stores.sql.keys import KEYS
from enginehouse.testing import simulate
from enginehouse.types import Allowance, Rate, Rates

NOW = 1_700_000_000


class Replica:
    """One process's view of the keys; its clock stands still unless it is moved."""

    def __init__(self, database, secret=b"s" * 32, offline=60.0):
        self.now = float(NOW)
        self.hasher = Hasher(secret)
        self.keyring = Keyring(database, self.hasher, offline=offline, clock=lambda: self.now)
        self.keys = Keys(database, self.hasher, self.keyring, clock=lambda: self.now)
        self.identity = Identity(AuthSettings(), self.keyring)
        self.identity.adopt(AuthSettings(key_offline=offline))

    async def user(self, key):
        holder = await self.identity.principal(None, key)
        assert self.identity.known(None, key.encode()) is holder
        return holder.user

    async def knows(self, key):
        at_once = self.identity.known(None, key.encode())
        holder = self.keyring.holder(key)
        assert at_once is None or at_once is holder
        return holder is not None

    async def refuses(self, key):
        assert self.identity.known(None, key.encode()) is None
        with pytest.raises(MissingCredentials) as refused:
            await self.identity.principal(None, key)
        assert key not in refused.value.message
        return True


@pytest.fixture
def here(database):
    return Replica(database)


async def test_a_key_is_its_holder_with_all_that_was_said(here):
    wanted = Wanted(
        name="CI",
        user_id="ann",
        tenant="acme",
        role="admin",
        tier="premium",
        models=("llama*",),
        tags=("ci",),
        limits=Rates(requests=Rate(5, 60), tokens=Rate(1000, 3600), concurrent=2),
        budget=Allowance(dollars="10.50", period="day"),
    )
    key, shown = await here.keys.create(wanted, "root")
    holder = await here.identity.principal(f"Bearer {shown}", None)
    assert holder == key.principal()
    assert (holder.user, holder.tenant, holder.role, holder.tier) == ("ann", "acme", "admin", "premium")
    assert (holder.key, holder.models, holder.tags) == (key.id, ("llama*",), ("ci",))
    assert (holder.limits, holder.budget) == (wanted.limits, wanted.budget)
    assert (key.created, key.created_by, key.status(NOW)) == (NOW, "root", "active")


async def test_nothing_that_opens_is_kept(here, database):
    _, shown = await here.keys.create(Wanted(), "root")
    row = await database.read(lambda c: dict(c.execute(select(KEYS)).mappings().one()))
    assert shown not in str(row)
    assert shown.split("_", 2)[2] not in str(row)
    assert Hasher(b"another secret of the service").digest(shown) != row["digest"]


async def test_every_key_is_another(here):
    texts = {(await here.keys.create(Wanted(), "root"))[1] for _ in range(20)}
    assert len({text.split("_", 2)[2] for text in texts}) == 20
    assert all(len(text) >= 59 for text in texts)


async def test_a_key_of_its_own_is_its_own_user(here):
    key, shown = await here.keys.create(Wanted(), "root")
    assert await here.user(shown) == key.id


async def test_a_key_ends(here):
    _, shown = await here.keys.create(Wanted(user_id="ann", expires=NOW + 10), "root")
    here.now = NOW + 9
    assert await here.user(shown) == "ann"
    here.now = NOW + 10
    assert await here.refuses(shown)


async def test_rotation_gives_the_old_one_its_grace(here):
    key, old = await here.keys.create(Wanted(user_id="ann"), "root")
    again, new = await here.keys.rotate(key.id, 30)
    assert again.id == key.id
    assert [await here.user(one) for one in (old, new)] == ["ann", "ann"]
    here.now = NOW + 30
    assert await here.refuses(old)
    assert await here.user(new) == "ann"


async def test_rotation_without_grace_ends_the_old_one_at_once_and_both_before_it(here):
    key, first = await here.keys.create(Wanted(user_id="ann"), "root")
    _, second = await here.keys.rotate(key.id, 100)
    _, third = await here.keys.rotate(key.id, 0)
    assert await here.refuses(first)
    assert await here.refuses(second)
    assert await here.user(third) == "ann"


async def test_a_revoked_key_is_gone_for_good(here):
    key, shown = await here.keys.create(Wanted(user_id="ann"), "root")
    revoked = await here.keys.revoke(key.id)
    assert revoked.status(NOW) == "revoked"
    assert await here.refuses(shown)
    assert (await here.keys.revoke(key.id)).revoked == revoked.revoked
    with pytest.raises(Conflict):
        await here.keys.rotate(key.id, 0)
    with pytest.raises(Conflict):
        await here.keys.change(key.id, Wanted(expires=None))


async def test_what_is_changed_counts_and_what_is_not_stays(here):
    key, shown = await here.keys.create(Wanted(user_id="ann", tier="basic", tags=("a",)), "root")
    await here.keys.change(key.id, Wanted(tier="premium", models=("m",)))
    holder = await here.identity.principal(None, shown)
    assert (holder.user, holder.tier, holder.models, holder.tags) == ("ann", "premium", ("m",), ("a",))


async def test_revoking_the_last_key_opens_nothing(here):
    assert here.identity.open
    key, shown = await here.keys.create(Wanted(), "root")
    assert not here.identity.open
    await here.keys.revoke(key.id)
    assert not here.identity.open
    assert await here.refuses(shown)


async def test_other_replicas_hear_of_everything(here, database):
    there = Replica(database)
    await there.keyring.look()
    key, shown = await here.keys.create(Wanted(user_id="ann"), "root")
    other, kept = await here.keys.create(Wanted(user_id="bob"), "root")
    await there.keyring.look()
    assert [await there.user(one) for one in (shown, kept)] == ["ann", "bob"]
    await here.keys.revoke(key.id)
    _, rotated = await here.keys.rotate(other.id, 0)
    await there.keyring.look()
    assert await there.refuses(shown)
    assert await there.refuses(kept)
    assert await there.user(rotated) == "bob"


async def test_writers_side_by_side_lose_nothing(here, database):
    there = Replica(database)
    made = await asyncio.gather(*(one.keys.create(Wanted(), "root") for one in (here, there) * 10))
    await asyncio.gather(here.keyring.look(), there.keyring.look())
    for key, shown in made:
        assert [await here.user(shown), await there.user(shown)] == [key.id, key.id]
    assert sorted(key.version for key in await here.keys.all()) == list(range(1, 21))


async def test_an_older_database_that_was_restored_counts(here, database):
    _, first = await here.keys.create(Wanted(user_id="ann"), "root")
    _, second = await here.keys.create(Wanted(user_id="bob"), "root")
    await here.keyring.look()
    await database.write(lambda c: c.execute(text("DELETE FROM api_keys WHERE user_id = 'bob'")))
    await database.write(lambda c: c.execute(text("UPDATE api_key_state SET version = 1")))
    await here.keyring.look()
    assert await here.user(first) == "ann"
    assert await here.refuses(second)


async def test_another_secret_is_refused_and_changes_nothing(here, database):
    await here.keys.create(Wanted(), "root")
    stranger = Replica(database, secret=b"t" * 32)
    with pytest.raises(SettingsError, match=r"auth\.key_secret"):
        await stranger.keyring.look()
    with pytest.raises(SettingsError, match=r"auth\.key_secret"):
        await stranger.keys.create(Wanted(), "root")
    assert len(await here.keys.all()) == 1


class Away:
    """A database that is gone."""

    async def read(self, _):
        raise StoreUnavailable("gone")


async def test_keys_are_believed_for_a_while_without_the_database(here, database):
    _, shown = await here.keys.create(Wanted(user_id="ann"), "root")
    there = Replica(database, offline=100)
    await there.keyring.look()
    there.keyring._database = Away()
    there.now += 99
    assert await there.user(shown) == "ann"
    there.now += 2
    assert there.identity.known(None, shown.encode()) is None
    with pytest.raises(StoreUnavailable):
        await there.user(shown)
    assert await there.refuses("eh_aaaaaaaaaaaa_" + "x" * 43)


def test_a_database_that_is_away_ends_no_task():
    async def main():
        keyring = Keyring(Away(), Hasher(b"s"), offline=1)
        async with asyncio.timeout(60):
            await keyring.run()

    with pytest.raises(TimeoutError):
        simulate(main())


@pytest.mark.parametrize("key_id", ["", "x", "aaaaaaaaaaaa", "' OR 1=1 --", "a" * 1000])
async def test_an_unknown_key_is_told_so(here, key_id):
    for ask in (here.keys.get, here.keys.revoke, lambda one: here.keys.rotate(one, 0)):
        with pytest.raises(NotFound) as refused:
            await ask(key_id)
        assert len(refused.value.message) < 200


@pytest.mark.parametrize(
    ("wanted", "param"),
    [
        (Wanted(role="service"), "role"),
        (Wanted(role="anonymous"), "role"),
        (Wanted(role=""), "role"),
        (Wanted(user_id=" "), "user_id"),
        (Wanted(user_id="a\nb"), "user_id"),
        (Wanted(name="x" * 201), "name"),
        (Wanted(models=("",)), "models"),
        (Wanted(tags=("x",) * 101), "tags"),
        (Wanted(expires=NOW), "expires_at"),
        (Wanted(expires=10**15), "expires_at"),
    ],
)
async def test_what_cannot_be_is_named(here, wanted, param):
    with pytest.raises(InvalidRequest) as refused:
        await here.keys.create(wanted, "root")
    assert refused.value.param == param
    assert await here.keys.all() == []
