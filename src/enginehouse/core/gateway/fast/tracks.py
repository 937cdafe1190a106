"""Tracks of the fast path: what is the same for all requests of one caller, by one route, to one model."""

from collections.abc import Callable, Mapping

from msgspec import Struct

from enginehouse.core.cache.cache import Cache
from enginehouse.core.cache.drawers import Drawer, drawer_of
from enginehouse.core.gateway.fast.places import Place
from enginehouse.core.gateway.fast.telling import in_records, in_traces
from enginehouse.core.gateway.guarding import Guarding
from enginehouse.core.gateway.seats import Seats
from enginehouse.core.gateway.spending import Spending
from enginehouse.core.ledger.digests import Digests
from enginehouse.core.ledger.ledger import Ledger
from enginehouse.core.ledger.prices import provider_of
from enginehouse.core.ledger.record import clean, clean_tags
from enginehouse.core.routes import Routes
from enginehouse.core.traces import Traces
from enginehouse.core.usable import resolved_for
from enginehouse.dialects.base import Codec
from enginehouse.dialects.openai.plain import PlainRequest
from enginehouse.engines.base import Carrier
from enginehouse.errors import EnginehouseError
from enginehouse.residency.base import Terms, terms_of
from enginehouse.settings.schema import GuardMode
from enginehouse.types import Deployment, Kind, Model, Operation, Principal
from enginehouse.types.generation import Dialect

__all__ = ["Route", "Track", "Tracks"]

_MOST = 4096
"""Tracks that are remembered."""
_LONGEST = 256
"""Characters of a model's name; whoever makes up longer ones shall not have them remembered."""


class Route(Struct, frozen=True, kw_only=True):
    """One route of plain requests."""

    path: str
    dialect: Dialect
    operation: Operation
    codec: Codec
    read: Callable[[bytes], PlainRequest | None]
    """What is asked; None when it is not plain."""


class Track:
    """What is the same for all requests of one caller, by one route, to one deployment of a model under one name.

    Args:
        rooms: what it leads through.
        kept: the caller's kept answers.
        deployment: one of the model's.
    """

    def __init__(
        self,
        rooms: "Tracks",
        route: Route,
        principal: Principal,
        name: str,
        model: Model,
        kept: Drawer,
        deployment: Deployment,
    ) -> None:
        self.beside: Mapping[str, Track] = {}
        """One for each deployment, by its id, where there is a choice among several; kept with the first one's."""
        self.is_choice = len(model.deployments) > 1
        self.rooms = rooms
        self.kept = kept
        self.digests = rooms.digests
        self.principal = principal
        self.user = clean(principal.user)
        self.key = clean(principal.key)
        self.tenant = clean(principal.tenant)
        self.tier = clean(principal.tier)
        self.tags = clean_tags(principal.tags)
        self.name = name
        self.model = model
        self.deployment = deployment
        self.terms = terms_of(model)
        self.path = route.path
        self.dialect = route.dialect
        self.codec = route.codec
        self.face = route.dialect.value
        self.operation = route.operation.value
        self.version = model.version or ""
        self.engine = deployment.engine.value
        self.provider = provider_of(deployment)
        self.upstream_model = deployment.upstream_model or ""
        self.there = name if deployment.engine.here else deployment.name_there
        self.is_untouched = self.there == name and not deployment.defaults
        """Whether bodies go on to the byte."""
        self.lines: dict[str, bytes] = {}
        """What a face writes of it again and again, by the cache's tier."""
        self.in_records, self.in_traces = in_records(self), in_traces(self)
        self._place: Place | None = None
        self._carrier: Carrier | None = None
        """How it is asked there."""
        self._placed_at = -1
        """In which step these were found."""

    def chosen(self, head: Callable[[], bytes]) -> "Track | None":
        """The one of the deployment that is asked now; None where none is.

        Args:
            head: what a conversation begins with, asked for only where there is a choice.
        """
        if not self.beside:
            return self
        deployment = self.rooms.routes.pick(self.model, head=head)
        return None if deployment is None else self.beside[deployment.id]

    def place(self) -> tuple[Place, Carrier] | None:
        """Where one more may run now, and how the engine is asked there; None where it cannot be done at once."""
        rooms = self.rooms
        if self._placed_at != rooms.step:
            place = self._place = rooms.place(self.deployment, self.terms)
            self._carrier = None if place is None else place.carrier(self.dialect)
            self._placed_at = rooms.step
        place, carrier = self._place, self._carrier
        return None if place is None or carrier is None or place.room <= 0 else (place, carrier)


class Tracks:
    """All of them, and the rooms they lead through.

    Args:
        seats: slots and leases.
        routes: how servers are.
        ledger: keeps what every request took.
        spending: whose budgets are none of the fast path's business.
        digests: makes those by which the ledger tells repeats.
        cache: the kept answers.
        guarding: who is guarded goes the general way.
        traces: telemetry.
    """

    def __init__(
        self,
        seats: Seats,
        routes: Routes,
        ledger: Ledger,
        spending: Spending,
        digests: Digests,
        cache: Cache,
        guarding: Guarding,
        traces: Traces,
    ) -> None:
        self.seats = seats
        self.residency = seats.residency
        self.routes = routes
        self.ledger = ledger
        self.digests = digests
        self.cache = cache
        self.traces = traces
        self.taken = 0
        """Requests that have come this way since the start."""
        self.step = 0
        """In which requests are begun, with nothing else between."""
        self._catalogue = seats.catalogue
        self._spending = spending
        self._guarding = guarding
        self._known: dict[tuple[int, str, str], Track | None] = {}
        self._places: dict[str, Place] = {}
        """By a deployment's id, as it was last seen."""
        self._opened: list[Place] = []
        """In this step."""
        self._count = 0
        """Of all that are known, those beside others among them."""
        self._principals: list[Principal] = []
        self._models: tuple[Model, ...] = ()

    def forget(self) -> None:
        """Settings have changed: everything is looked at anew."""
        self._known.clear()
        self._places.clear()
        self._principals.clear()
        self._count = 0

    def open(self) -> bool:
        """A step begins; returns whether requests may be begun in it: records can be kept, and nobody listens."""
        self.step += 1
        self._opened.clear()
        return self.ledger.ready and not self.traces.listens

    def enter(self, number: int) -> None:
        """All who have come in this step begin.

        Args:
            number: so many.
        """
        for place in self._opened:
            place.enter()
        self.taken += number
        self.traces.come(number)

    def find(self, route: Route, principal: Principal, name: str) -> Track | None:
        """The track of such requests; None where they go the general way."""
        if self._models is not self._catalogue.everything:
            self._models = self._catalogue.everything
            self.forget()
        key = (id(principal), route.path, name)
        try:
            return self._known[key]
        except KeyError:
            return self._made(key, route, principal, name)

    def place(self, deployment: Deployment, terms: Terms) -> Place | None:
        """A deployment as it is in this step; None when it is left alone, not ready, or others' too."""
        known = self._places.get(deployment.id)
        if known is not None and known.step == self.step:
            return known
        if self.routes.left_alone(deployment):
            return None
        gate, loaded = self.seats.gate_now(deployment), self.residency.ready_now(deployment)
        if gate is None or loaded is None:
            return None
        if known is None or known.gate is not gate or known.loaded is not loaded:
            known = self._places[deployment.id] = Place(self, deployment, terms, gate, loaded)
        known.open(self.step)
        self._opened.append(known)
        return known

    def _made(self, key: tuple[int, str, str], route: Route, principal: Principal, name: str) -> Track | None:
        if len(name) > _LONGEST:
            return None
        if self._count >= _MOST:
            self.forget()
        track = self._laid(route, principal, name)
        self._known[key] = track
        self._count += 1 if track is None else len(track.model.deployments)
        self._principals.append(principal)  # which keeps its id from becoming another's
        return track

    def _laid(self, route: Route, principal: Principal, name: str) -> Track | None:
        try:
            model = resolved_for(principal, self._catalogue, name)
        except EnginehouseError:
            return None
        if not self._is_simple(principal, model):
            return None
        kept = drawer_of(self.cache, principal, model, route.dialect, route.operation)
        if kept is None:
            return None
        tracks = [Track(self, route, principal, name, model, kept, one) for one in model.deployments]
        if len(tracks) > 1:
            tracks[0].beside = {track.deployment.id: track for track in tracks}
        return tracks[0]

    def _is_simple(self, principal: Principal, model: Model) -> bool:
        """Whether there are only places to be asked, and nobody who has a word in it."""
        return (
            model.kind is Kind.CHAT
            and model.instances.max == 1
            and all(one.first_token_timeout is None and one.total_timeout is None for one in model.deployments)
            and not self._spending.has_budgets(principal)
            and self._guarding.mode(principal, model) is GuardMode.OFF
        )
