"""Which limits a caller has at an endpoint: pure, from the settings and the caller's key."""

from collections.abc import Iterator
from functools import lru_cache

from msgspec import Struct

from enginehouse.settings.schema import LimitSettings
from enginehouse.stores.kv import Seats, Window
from enginehouse.types import Principal, Rate, Rates

__all__ = ["NO_BOUNDS", "Bounds", "Rule", "Rules", "Telling"]

INFERENCE = frozenset(
    {
        *("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/v1/rerank"),
        *("/v1/messages", "/api/chat", "/api/generate", "/api/embed", "/api/embeddings"),
        *("/v1/llm/generate", "/v1/llm/generate-embeddings", "/v1/inference", "/api/v1/inference/chat", "/predict"),
    }
)
"""Paths at which models are asked; limits count there, and where the settings name one."""
QUEUED_CHAT = "/api/v1/inference/chat"
_HOUR = 3600
_MOST = 4096
"""Callers whose limits are remembered."""


class Rule(Struct, frozen=True, kw_only=True):
    """One limit of one caller."""

    whose: str
    """In words, for the message of a refusal."""
    key: str
    """Under which it is counted."""
    what: str
    """`requests`, `tokens` or `concurrent`."""
    count: int
    seconds: float = 0.0
    """Length of the window; 0 for what runs at the same time."""

    def window(self, need: int, take: int) -> Window:
        """What is asked of the window it is counted in: so much has to be free, so much is taken."""
        return Window(key=self.key, seconds=self.seconds, limit=self.count, need=need, take=take)


class Telling(Struct, frozen=True, kw_only=True):
    """A window that headers tell of."""

    at: int
    """Its place among the windows."""
    what: str
    count: int
    form: bytes
    """The headers' lines, with room for what remains and for when all is free again."""

    @classmethod
    def of(cls, at: int, rule: Rule) -> "Telling":
        """The window of this limit."""
        what, count = rule.what, rule.count
        form = (
            f"x-ratelimit-limit-{what}: {count}\r\n"
            f"x-ratelimit-remaining-{what}: %d\r\n"
            f"x-ratelimit-reset-{what}: %b\r\n"
        )
        return cls(at=at, what=what, count=count, form=form.encode())


class Bounds(Struct, frozen=True, kw_only=True):
    """All limits of one caller at one endpoint, made ready: what each of its requests takes of them is the same."""

    windows: tuple[Rule, ...] = ()
    """Those on requests and tokens."""
    seats: tuple[Rule, ...] = ()
    """Those on what runs at the same time."""
    tokens: tuple[Rule, ...] = ()
    taken: tuple[Window, ...] = ()
    """What a request takes of `windows`: itself, and the right to spend tokens while any are left."""
    held: tuple[Seats, ...] = ()
    """What it holds of `seats`."""
    seat_keys: tuple[str, ...] = ()
    """Theirs, to give them back."""
    told: tuple[tuple[Telling, ...], ...] = ()
    """What headers tell of: windows on the same thing together, those on requests first."""
    only: tuple[Telling, ...] = ()
    """The same where there is one window on each thing, and none has to be chosen; else nothing."""
    form: bytes = b""
    """All of their lines."""

    @classmethod
    def of(cls, rules: tuple[Rule, ...]) -> "Bounds":
        """Of these limits."""
        windows = tuple(rule for rule in rules if rule.what != "concurrent")
        seats = tuple(rule for rule in rules if rule.what == "concurrent")
        told = [
            tuple(Telling.of(at, rule) for at, rule in enumerate(windows) if rule.what == what)
            for what in ("requests", "tokens")
        ]
        only = [same[0] for same in told if same] if max(map(len, told)) == 1 else []
        return cls(
            windows=windows,
            seats=seats,
            tokens=tuple(rule for rule in rules if rule.what == "tokens"),
            taken=tuple(rule.window(1, int(rule.what == "requests")) for rule in windows),
            held=tuple(Seats(key=rule.key, limit=rule.count) for rule in seats),
            seat_keys=tuple(rule.key for rule in seats),
            told=tuple(same for same in told if same),
            only=tuple(only),
            form=b"".join([one.form for one in only]),
        )


NO_BOUNDS = Bounds()


class Rules:
    """What the settings say, read once."""

    def __init__(self, settings: LimitSettings) -> None:
        self._tiers = {name: Rates.of(text) for name, text in settings.tiers.items()}
        self._endpoints = {path: Rates.of(text) for path, text in settings.endpoints.items()}
        if QUEUED_CHAT not in self._endpoints:
            self._endpoints[QUEUED_CHAT] = Rates(requests=Rate(settings.requests_per_hour, _HOUR))
        self._everybody = settings.requests
        self._window = settings.window
        self._found = lru_cache(_MOST)(self._ready)

    def covers(self, endpoint: str) -> bool:
        """Whether anything is limited there."""
        return endpoint in INFERENCE or endpoint in self._endpoints

    def of(self, principal: Principal, endpoint: str) -> tuple[Rule, ...]:
        """Every limit that counts for this request."""
        return tuple(self._of(principal, endpoint))

    def bounds(self, principal: Principal, endpoint: str) -> Bounds:
        """The same, made ready to be counted."""
        return self._found(principal, endpoint)

    def _ready(self, principal: Principal, endpoint: str) -> Bounds:
        rules = self.of(principal, endpoint)
        return Bounds.of(rules) if rules else NO_BOUNDS

    def _of(self, principal: Principal, endpoint: str) -> Iterator[Rule]:
        user, is_admin = principal.user, principal.role == "admin"
        if self._everybody is not None:
            yield Rule(
                whose="a user",
                key=f"user:{user}:{self._window:g}",
                what="requests",
                count=self._everybody,
                seconds=self._window,
            )
        tier = principal.tier
        if tier not in self._tiers and not is_admin:
            tier = "standard"
        if (rates := self._tiers.get(tier)) is not None:
            yield from _rules(f"the tier {tier!r}", f"tier:{tier}:{user}", rates)
        if not is_admin and (rates := self._endpoints.get(endpoint)) is not None:
            yield from _rules(endpoint, f"endpoint:{endpoint}:{user}", rates)
        if principal.key:
            yield from _rules("this key", f"key:{principal.key}", principal.limits)


def _rules(whose: str, key: str, rates: Rates) -> Iterator[Rule]:
    for what, rate in (("requests", rates.requests), ("tokens", rates.tokens)):
        if rate is not None:
            place = f"{what}:{key}:{rate.seconds}"
            yield Rule(whose=whose, key=place, what=what, count=rate.count, seconds=rate.seconds)
    if rates.concurrent is not None:
        yield Rule(whose=whose, key=f"concurrent:{key}", what="concurrent", count=rates.concurrent)
