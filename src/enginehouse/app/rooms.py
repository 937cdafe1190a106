"""What the service can do: the rooms of the core, joined over the ground they stand on."""

import asyncio
import time
from collections.abc import Callable

from enginehouse.app.ground import Ground, keeping, listening, prices_of
from enginehouse.core.chat import Answers
from enginehouse.core.copies import Copies
from enginehouse.core.embedding import Embedder
from enginehouse.core.gateway import Gateway, Guarding, Recall, Seats, Spending
from enginehouse.core.gateway.fast import Tracks
from enginehouse.core.holdings import Holdings
from enginehouse.core.identity.secret import key_secret
from enginehouse.core.ledger.budgets import Budgets
from enginehouse.core.ledger.digests import Digests
from enginehouse.core.ledger.savings import Savings
from enginehouse.core.ledger.usage import UsageReports
from enginehouse.core.listing import Listing
from enginehouse.core.measuring import ModelRulers
from enginehouse.core.prediction_cache import PredictionCache
from enginehouse.core.predictions import Predictions
from enginehouse.core.registration import Registry, RegistryFile, SharedRow
from enginehouse.core.routes import Routes
from enginehouse.core.sessions import Archive, Sessions
from enginehouse.core.summing import Summaries
from enginehouse.core.traces.reports import Reports
from enginehouse.core.vectors.vectors import Vectors
from enginehouse.core.warmups import WarmUps
from enginehouse.residency.cleanup import Cleanup
from enginehouse.settings.schema import SessionSettings, Settings
from enginehouse.stores.kv import HotCopies, MemoryCopies, RedisCopies, RedisPost

__all__ = ["Rooms"]


class Rooms:
    """Made to fit each other; what an edited configuration may change, `adopt` changes.

    Args:
        ground: what is open.
        settings: those in force, asked anew by what reckons with them later.
    """

    def __init__(self, ground: Ground, settings: Callable[[], Settings]) -> None:
        now = settings()
        self.ground = ground
        self.settings = settings
        self.copies = Copies(ground.admission, ground.residency, now.residency)
        self.listing = Listing(ground.catalogue, ground.residency, self.copies, ground.changes.publish)
        file = RegistryFile(now.data_dir / "registered-models.json")
        self.registry = Registry(
            file,
            self.listing,
            now,
            ground.artifacts.local,
            facts=ground.ollama.facts,
            shared=None if ground.database.embedded else SharedRow(ground.database, file, asyncio.to_thread),
        )
        self.spending = Spending(_budgets(ground, now))
        self.routes = Routes(ground.catalogue, now.routing, time.monotonic)
        secret = key_secret(now.auth, now.data_dir)
        self.digests = Digests(secret, enabled=now.ledger.request_digests)
        self.seats = seats = Seats(ground.catalogue, ground.admission, ground.residency, self.copies)
        remembered = PredictionCache(now.predictions, time.monotonic)
        self.guarding = Guarding(seats, now.guard, remembered)
        recall = Recall(ground.cache)
        self.gateway = Gateway(
            seats, self.routes, ground.ledger, self.spending, self.digests, recall, self.guarding
        )
        self.tracks = Tracks(
            seats,
            self.routes,
            ground.ledger,
            self.spending,
            self.digests,
            ground.cache,
            self.guarding,
            ground.traces,
        )
        self.predictions = Predictions(self.gateway, remembered)
        self.warm_ups = WarmUps(self.gateway, ground.residency)
        self.cleanup = Cleanup(ground.residency, ground.machine)
        self.holdings = Holdings(ground.residency, self.copies, ground.machine)
        rulers, at_hand = self._rulers(settings), _hot_copies(ground, now.sessions)
        sums_up = Summaries(self.gateway, rulers)
        self.sessions = Sessions(ground.database, rulers, now.sessions, at_hand, sums_up=sums_up)
        self.archive = Archive(
            ground.database,
            at_hand,
            lambda: settings().sessions,
            check_model=lambda principal, name: rulers.of(principal, name, ""),
            forget=[lambda session: ground.cache.rulings.purge(tag=session.tag)],
        )
        post = None if ground.store is None else RedisPost(ground.store)
        self.answers = Answers(self.gateway, self.sessions, now.chat, now.limits, post)
        self.usage = UsageReports(ground.database, ground.ledger.caught_up)
        self.reports = Reports(ground.traces, ground.keeper, ground.access.key_name)
        self.savings = _savings(ground, settings)
        self.vectors = Vectors(ground.vectors, Embedder(self.gateway, "vectors"), now.vectors.max_payload_bytes)

    def adopt(self, settings: Settings) -> None:
        """Let edited settings count from the next request on."""
        ground = self.ground
        ground.residency.adopt(settings.residency)
        self.copies.adopt(settings.residency)
        ground.admission.adopt(settings.admission)
        self.routes.adopt(settings.routing)
        self.spending.adopt(_budgets(ground, settings))
        ground.ledger.adopt(prices_of(settings))
        self.digests.adopt(enabled=settings.ledger.request_digests)
        self.guarding.adopt(settings.guard)
        self.predictions.cache.adopt(settings.predictions)
        ground.access.adopt(settings)
        ground.cache.adopt(settings.cache)
        ground.traces.adopt(settings.telemetry.kept, listening(settings.telemetry))
        ground.keeper.adopt(keeping(settings.telemetry))
        self.sessions.adopt(settings.sessions)
        self.answers.adopt(settings.chat, settings.limits)
        self.tracks.forget()

    def _rulers(self, settings: Callable[[], Settings]) -> ModelRulers:
        on = self.ground
        return ModelRulers(
            on.catalogue, on.residency, self.copies, on.encodings, lambda: settings().default_chat_model
        )


def _hot_copies(ground: Ground, kept: SessionSettings) -> HotCopies:
    """Of conversations: in Redis for all replicas, else in this process."""
    if ground.store is None:
        return MemoryCopies(kept.hot_bytes, kept.hot_ttl)
    return RedisCopies(ground.store, kept.hot_ttl)


def _budgets(ground: Ground, settings: Settings) -> Budgets:
    return Budgets(ground.database, settings.budgets, caught_up=ground.ledger.caught_up)


def _savings(ground: Ground, settings: Callable[[], Settings]) -> Savings:
    """Reckons with what is configured when it is asked."""
    return Savings(
        ground.database,
        ground.catalogue.models,
        lambda: prices_of(settings()),
        lambda: settings().cache.exact_ttl,
        caught_up=ground.ledger.caught_up,
    )
