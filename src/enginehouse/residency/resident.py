"""One deployment's state in memory, over all of its lives; every method is a decision without an `await`."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from msgspec import Struct

from enginehouse.errors import EnginehouseError
from enginehouse.residency.base import USUAL, Loaded
from enginehouse.residency.figures import Cause, Figures
from enginehouse.residency.policy import HALF_LIFE, Footprint, Standing
from enginehouse.telemetry.events import EventStream
from enginehouse.types import Deployment, EngineName, ResidentState

__all__ = ["Resident", "ResidentStatus", "now"]

_KEPT_LOG_LINES = 500
_FIRST_PAUSE, _LONGEST_PAUSE = 10.0, 300.0
"""Seconds between two tries to load what failed: doubling from the first to the longest."""
_CRASHES, _CRASH_WINDOW = 3, 300.0
"""So many crashes within so many seconds count as a failure to load."""
_AT_REST = {ResidentState.OFF, ResidentState.FAILED}


class ResidentStatus(Struct, frozen=True, kw_only=True):
    """What there is to know of one deployment, for people and programs."""

    id: str
    model: str
    engine: EngineName
    state: ResidentState
    leases: int = 0
    waiting: int = 0
    pid: int | None = None
    port: int | None = None
    error: str | None = None
    load_seconds: float | None = None
    """What the last load took."""
    instances: int | None = None
    """How many copies are ready, where there may be several."""
    idle_seconds: float | None = None
    """Since the end of its last request, when it is ready and idle."""
    ram: int | None = None
    """Bytes of main memory it holds, or has reserved; None when it holds nothing."""
    vram: int | None = None
    """The same on all GPUs together."""
    pinned: bool = False
    """Whether it is never evicted, by its entry or by hand."""


class Resident:
    """What the owner of residency knows of one deployment; satisfies `Watcher`.

    Args:
        on_change: called with a picture of it after every change of its state.
    """

    def __init__(self, on_change: Callable[[ResidentStatus], None] = lambda _: None) -> None:
        self._state = ResidentState.OFF
        self._on_change = on_change
        self.deployment: Deployment | None = None
        """What is loaded or being loaded."""
        self.wanted: Deployment | None = None
        """What the next life shall load; differs from `deployment` after an edit of the configuration."""
        self.loaded: Loaded | None = None
        self.leases = 0
        self.running: bool | None = None
        """Whether requests run under the leases, where their holders say so; None when each lease is a request."""
        self.waiters: deque[asyncio.Future[Loaded]] = deque()
        self.task: asyncio.Task[None] | None = None
        self.wake = asyncio.Event()
        """Something happened that its task has to look at."""
        self.gone = asyncio.Event()
        """Set while no engine runs."""
        self.dismissed = False
        self.cause = Cause.IDLE
        """Why this life ends: by itself, unless somebody dismisses it."""
        self.removed = False
        """Its model is no more: when this life is over nothing of it need be kept."""
        self.figures = Figures()
        self.ended_by_itself: str | None = None
        self.unanswered = 0
        """Health checks in a row that got no answer."""
        self.error: EnginehouseError | None = None
        self.terms = USUAL
        self.held: bool | None = None
        """Whether it was pinned by hand, or was said not to be; None leaves that to its terms."""
        self.ttl = 0.0
        """Idle seconds before it leaves; 0 means never."""
        self.asked_since = 0.0
        """When the first of those who wait now asked."""
        self._demand = 0.0
        self._demand_at = 0.0
        self._failures = 0
        self._not_before = 0.0
        self._crashes: deque[float] = deque(maxlen=_CRASHES)
        self.since = self.last_used = 0.0
        self.refreshed_at = 0.0
        """When its TTL began anew without a request."""
        self.load_seconds: float | None = None
        self.log: EventStream[str] = EventStream(kept=_KEPT_LOG_LINES)
        self.on_progress: Callable[[], None] | None = None
        self.on_end: Callable[[], None] | None = None
        self.last_sign = "no sign of progress"

    @property
    def state(self) -> ResidentState:
        """Where it stands between disk and memory."""
        return self._state

    @state.setter
    def state(self, state: ResidentState) -> None:
        """Set last of all that changes with it: who listens is shown the whole."""
        changed, self._state = state is not self._state, state
        if changed and self.deployment is not None:
            self._on_change(self.status(self.deployment))

    @property
    def at_rest(self) -> bool:
        """Whether no life is under way."""
        return self.state in _AT_REST

    @property
    def is_elsewhere(self) -> bool:
        """Whether its engine runs where we cannot start or stop it."""
        return self.deployment is not None and self.deployment.base_url is not None

    @property
    def pinned(self) -> bool:
        """Whether it is never evicted."""
        return self.terms.pinned if self.held is None else self.held

    def hold(self, *, pinned: bool) -> None:
        """Pinned by hand it is neither evicted nor leaves for being idle, over all of its lives; or it is not."""
        self.held = pinned
        self.wake.set()
        if self.deployment is not None:
            self._on_change(self.status(self.deployment))

    def take(self, deployment: Deployment) -> Loaded | None:
        """A lease on what is ready now, or None. A resident that is not what is asked for starts to drain."""
        if self._state is ResidentState.READY and not self.ended_by_itself and self.deployment != deployment:
            self.dismiss(Cause.EDITED)
        return self.take_now(deployment)

    def lendable(self, deployment: Deployment) -> Loaded | None:
        """What is ready now, if that is what is asked for."""
        if self._state is not ResidentState.READY or self.ended_by_itself or self.deployment != deployment:
            return None
        return self.loaded

    def take_now(self, deployment: Deployment, number: int = 1) -> Loaded | None:
        """Leases on what is ready now, if that is what is asked for; else None, and nothing has happened."""
        loaded = self.lendable(deployment)
        if loaded is not None:
            self._lend(number)
        return loaded

    def release(self, loaded: Loaded, number: int = 1) -> None:
        """Give so many leases back; those on an engine that is gone already count no more."""
        if loaded is not self.loaded:
            return
        self.leases -= number
        self.last_used = now()
        if not self.leases and self._state is ResidentState.DRAINING:
            self.wake.set()

    def was_used(self, *, running: bool, requests: int) -> None:
        """Who holds a lease for many requests says how they went."""
        self.running = running
        if running or requests:
            self.last_used = now()
            self._want_more(requests)

    def begin(self, task: asyncio.Task[None]) -> None:
        """A new life starts."""
        self.task = task
        self.deployment = self.wanted
        self.dismissed = False
        self.cause = Cause.IDLE
        self.removed = False
        self.ended_by_itself = self.error = None
        self.unanswered = 0
        self.since = now()
        self.gone.clear()
        self.state = ResidentState.LOADING

    def ready(self, loaded: Loaded) -> None:
        """It answers: every waiter gets its lease in the same step."""
        self.loaded = loaded
        self.last_used = now()
        self.load_seconds = self.last_used - self.since
        self._failures = 0
        self.figures.was_loaded()
        for waiter in self._pending():
            self._lend()
            waiter.set_result(loaded)
        self.state = ResidentState.READY

    def dismiss(self, cause: Cause, refusal: EnginehouseError | None = None) -> None:
        """It shall leave: a load under way is stopped, a ready one admits no new lease and drains.

        With a refusal everybody who waits for it is told so; without one they wait for its next life.
        """
        if refusal is not None:
            self.refuse(refusal)
        if self.dismissed or self.at_rest:
            return
        self.dismissed = True
        self.cause = cause
        if self.state is ResidentState.LOADING and self.task is not None:
            self.task.cancel()
        self.drain()

    def refuse(self, refusal: EnginehouseError) -> None:
        """Answer every waiter with an error."""
        for waiter in self._pending():
            waiter.set_exception(refusal)

    def drain(self) -> None:
        """From now on nobody gets a lease on this life."""
        self.state = ResidentState.DRAINING
        self.wake.set()

    def end(self, failure: EnginehouseError | None) -> None:
        """This life is over. A failed load answers every waiter; after a crash they wait for the next life, unless
        there has been one too many."""
        if failure is not None:
            self._cool_down(failure, crashed=self.loaded is not None)
        if self.loaded is not None:
            self.figures.departures[Cause.FAILED if failure else self.cause] += 1
        self.loaded = self.running = None
        self.leases = 0
        self.error = failure
        self.state = ResidentState.FAILED if failure else ResidentState.OFF
        if failure is not None and self._not_before > now():
            self.refuse(failure)
        self.gone.set()

    def check_cool_down(self) -> None:
        """One try a window: who asks while a failure is fresh gets it again, and when to come back.

        Raises:
            EnginehouseError: what the last load raised.
        """
        if self.error is not None and (left := self.cooling):
            self.error.retry_after = left
            raise self.error.with_traceback(None)

    def forgive(self) -> None:
        """Forget failures."""
        self._failures = 0
        self._not_before = 0.0
        self._crashes.clear()
        if self.state is ResidentState.FAILED:
            self.error = None
            self.state = ResidentState.OFF

    @property
    def cooling(self) -> float:
        """Seconds until it is tried again after a failure; 0 when it may be at once."""
        return max(self._not_before - now(), 0.0) if self.state is ResidentState.FAILED else 0.0

    def standing(self, name: str, size: Footprint) -> Standing:
        """How the policy sees it."""
        return Standing(
            id=name,
            size=size,
            priority=self.terms.priority,
            pinned=self.pinned,
            busy=self.leases > 0 if self.running is None else self.running,
            leaving=self.state is ResidentState.DRAINING,
            loading=self.state is ResidentState.LOADING,
            ready_since=self.since + (self.load_seconds or 0.0),
            last_used=self.last_used,
            reload_seconds=self.load_seconds or 0.0,
            demand=self._demand * 0.5 ** ((now() - self._demand_at) / HALF_LIFE),
        )

    def _lend(self, number: int = 1) -> None:
        self.leases += number
        self._want_more(number)

    def _want_more(self, requests: int) -> None:
        at = now()
        self._demand = self._demand * 0.5 ** ((at - self._demand_at) / HALF_LIFE) + requests
        self._demand_at = at

    def _cool_down(self, failure: EnginehouseError, *, crashed: bool) -> None:
        """A load that failed is not tried again at once, a crash is, unless it is the third within the window."""
        at = now()
        if crashed:
            self._crashes.append(at)
            if len(self._crashes) < _CRASHES or at - self._crashes[0] > _CRASH_WINDOW:
                return
        pause = min(_FIRST_PAUSE * 2**self._failures, _LONGEST_PAUSE)
        self._failures += 1
        self._not_before = at + pause
        failure.retry_after = pause

    def idle_left(self) -> float | None:
        """Seconds until it has been idle for its TTL, or None when it may stay for ever."""
        if not self.ttl or self.held:
            return None
        return self.ttl if self.leases else max(self.last_used, self.refreshed_at) + self.ttl - now()

    def status(self, deployment: Deployment) -> ResidentStatus:
        """A picture of now."""
        idle = self.state is ResidentState.READY and not self.leases
        return ResidentStatus(
            id=deployment.id,
            model=deployment.model,
            engine=deployment.engine,
            state=self.state,
            leases=self.leases,
            waiting=len(self.waiters),
            pid=self.loaded.pid if self.loaded else None,
            port=self.loaded.port if self.loaded else None,
            error=self.error.message if self.error else None,
            load_seconds=self.load_seconds,
            idle_seconds=now() - self.last_used if idle else None,
            pinned=self.pinned,
        )

    # What the launcher tells

    def progressed(self, sign: str) -> None:
        """The load moves."""
        self.last_sign = f"last sign of progress: {sign}"
        if self.on_progress:
            self.on_progress()

    def printed(self, lines: Sequence[str]) -> None:
        """Keep what the engine wrote."""
        for line in lines:
            self.log.publish(line)

    def ended(self, reason: str) -> None:
        """The engine stopped by itself."""
        self.ended_by_itself = reason
        self.wake.set()
        if self.on_end is not None:
            self.on_end()

    def _pending(self) -> list[asyncio.Future[Loaded]]:
        pending = [waiter for waiter in self.waiters if not waiter.done()]
        self.waiters.clear()
        return pending


def now() -> float:
    """The event loop's clock, in seconds; the only clock of this room."""
    return asyncio.get_running_loop().time()
