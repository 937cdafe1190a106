"""The guard: scores what a user says while the request waits for its turn, and may refuse to ask the model.

It runs beside admission, so that its time counts only where it is longer than the wait; the engine is asked when
both have ended.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Protocol, runtime_checkable
from uuid import uuid4

import structlog
from msgspec import Struct

from enginehouse.core.gateway.seats import Seating
from enginehouse.core.identity import SERVICE
from enginehouse.core.prediction_cache import PredictionCache, Remembered
from enginehouse.engines.base import Classifies
from enginehouse.errors import EnginehouseError, GuardUnavailable, InvalidRequest, PromptBlocked
from enginehouse.settings.schema import GuardMode, GuardSettings
from enginehouse.types import Model, Operation, Principal, Request, Timings

__all__ = ["Guarding", "Says", "Verdict", "Watch"]

log = structlog.get_logger()

_UNGUARDED: AbstractAsyncContextManager[None] = nullcontext()
_HALF = 0.5
"""From where a text counts as an attack when neither the settings nor the model's makers say so."""


@runtime_checkable
class Says(Protocol):
    """A flow that carries words of a user."""

    def said(self) -> Sequence[str]:
        """What came since the model last spoke: the user's words, and what tools brought."""
        ...


class Verdict(Struct, frozen=True, kw_only=True):
    """Of one request."""

    label: str
    """The likeliest attack."""
    score: float
    """Probability that the worst of its texts is any attack."""
    is_attack: bool


class Watch:
    """One request under guard."""

    def __init__(self, guarding: "Guarding", request: Request, model: Model, mode: GuardMode) -> None:
        self._guarding = guarding
        self._request = request
        self._model = model
        self._mode = mode
        self.verdict: asyncio.Task[Verdict] | None = None

    async def passed(self) -> None:
        """The verdict is there, and the request may go on.

        Raises:
            PromptBlocked: it may not.
            GuardUnavailable: nobody knows, and it would be blocked if it were an attack.
        """
        if self.verdict is None:
            return
        try:
            verdict = await self.verdict
        except (EnginehouseError, TimeoutError) as error:
            self._guarding.failed(self._request, self._model, self._mode, error)
        else:
            self._guarding.judged(self._request, self._model, self._mode, verdict)


class Guarding:
    """Who is guarded, by which model, and what comes of it.

    Args:
        seats: where the guard's model is found.
        settings: which model, and how strict.
        cache: what was said before.
    """

    def __init__(self, seats: Seating, settings: GuardSettings, cache: PredictionCache) -> None:
        self._seats = seats
        self._settings = settings
        self._cache = cache
        self.outcomes = Counter[tuple[str, str]]()
        """How often, by mode and outcome: `passed`, `flagged`, `blocked`, `unavailable`."""

    def adopt(self, settings: GuardSettings) -> None:
        """Other settings count from the next request on."""
        self._settings = settings

    def mode(self, principal: Principal, model: Model) -> GuardMode:
        """How requests are guarded: by the strictest of what holds for all, for their model and for their key."""
        settings = self._settings
        if settings.mode is GuardMode.OFF and not settings.by_model and not settings.by_key:
            return GuardMode.OFF
        modes = (
            settings.mode,
            settings.by_model.get(model.id, GuardMode.OFF),
            settings.by_key.get(principal.key, GuardMode.OFF),
        )
        return max(modes, key=list(GuardMode).index)

    def watching(self, request: Request, model: Model, flow: object) -> AbstractAsyncContextManager[Watch | None]:
        """Score beside whatever happens inside; leaving stops it. None where nobody is guarded."""
        mode = self.mode(request.principal, model)
        if mode is GuardMode.OFF or request.principal == SERVICE or not isinstance(flow, Says):
            return _UNGUARDED
        return self._watching(Watch(self, request, model, mode), flow)

    @asynccontextmanager
    async def _watching(self, watch: Watch, flow: Says) -> AsyncGenerator[Watch]:
        # Owned here and ended below; a TaskGroup would wrap every error of a request into a group.
        watch.verdict = asyncio.get_running_loop().create_task(self.verdict(flow), name="guard")
        try:
            yield watch
        finally:
            watch.verdict.cancel()
            await asyncio.wait([watch.verdict])

    def judged(self, request: Request, model: Model, mode: GuardMode, verdict: Verdict) -> None:
        """Act on a verdict.

        Raises:
            PromptBlocked: it is an attack, and those are blocked.
        """
        blocks = verdict.is_attack and mode is GuardMode.BLOCK
        outcome = "blocked" if blocks else "flagged" if verdict.is_attack else "passed"
        self.count(mode.value, outcome)
        if verdict.is_attack:
            log.warning(
                "prompt_flagged",
                request_id=request.request_id,
                model=model.id,
                mode=mode.value,
                label=verdict.label,
                score=round(verdict.score, 4),
            )
        if mode is not GuardMode.SHADOW:
            label = f"; label={verdict.label}" if verdict.is_attack else ""
            request.timings.guard = f"{outcome}{label}; score={verdict.score:.3f}"
        if blocks:
            raise PromptBlocked(
                f"The prompt was refused: it looks like {verdict.label.replace('_', ' ')} "
                f"(score {verdict.score:.2f}). Say it in other words, or ask the administrator of this service."
            )

    def failed(self, request: Request, model: Model, mode: GuardMode, error: Exception) -> None:
        """There is no verdict.

        Raises:
            GuardUnavailable: and without one nothing passes.
        """
        self.count(mode.value, "unavailable")
        said = error.message if isinstance(error, EnginehouseError) else "it took too long"
        log.error("guard_unavailable", request_id=request.request_id, model=model.id, mode=mode.value, error=said)
        if mode is GuardMode.BLOCK and self._settings.on_failure == "deny":
            raise GuardUnavailable(f"The prompt could not be checked: {said}", retry_after=5) from error
        if mode is not GuardMode.SHADOW:
            request.timings.guard = "unavailable"

    def count(self, mode: str, outcome: str) -> None:
        """Once more in this mode with this outcome."""
        self.outcomes[mode, outcome] += 1

    async def verdict(self, flow: Says) -> Verdict:
        """What the guard's model says of all that a user says.

        Raises:
            EnginehouseError, TimeoutError: it says nothing.
        """
        async with asyncio.timeout(self._settings.timeout):
            texts = [text for text in flow.said() if text.strip()]
            own = _request_for(self._settings.model)
            model = self._seats.resolve(own, own.model)
            known = {text: said for text in texts if (said := self._cache.get(model, text)) is not None}
            unknown = [text for text in dict.fromkeys(texts) if text not in known]
            if unknown:
                known |= await self._asked(own, model, unknown)
            return self._worst(model, [known[text] for text in texts])

    async def _asked(self, own: Request, model: Model, texts: Sequence[str]) -> dict[str, Remembered]:
        async with self._seats.seat(own, model, model.deployments[0]) as seat:
            if seat is None or not isinstance(seat.engine, Classifies):
                raise InvalidRequest(f"The guard's model {model.id!r} does not classify.", param="guard.model")
            classification = await seat.engine.classify(texts)
        said = {text: Remembered.of(classification, index) for index, text in enumerate(texts)}
        for text, one in said.items():
            self._cache.put(model, text, one)
        return said

    def _worst(self, model: Model, every: Sequence[Remembered]) -> Verdict:
        verdict = Verdict(label="", score=0.0, is_attack=False)
        for said in every:
            if said.neutral is None:
                raise InvalidRequest(
                    f"The guard's model {model.id!r} has no label that means harmless; name it neutral_label in "
                    "its config.json.",
                    param="guard.model",
                )
            scores = dict(zip(said.labels, said.scores, strict=True))
            score = 1.0 - scores.pop(said.neutral)
            if score >= verdict.score:
                cut = self._settings.threshold or said.threshold or _HALF
                verdict = Verdict(label=max(scores, key=scores.__getitem__), score=score, is_attack=score >= cut)
        return verdict


def _request_for(model: str) -> Request:
    """The guard's own."""
    return Request(
        operation=Operation.CLASSIFICATION,
        model=model,
        principal=SERVICE,
        request_id=f"guard-{uuid4().hex}",
        face="guard",
        timings=Timings(),
    )
