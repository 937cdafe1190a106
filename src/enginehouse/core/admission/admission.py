"""The owner of every gate: where a request asks for its turn."""

from collections.abc import Iterable

from enginehouse.core.admission.gate import Gate
from enginehouse.core.admission.replica import SharedGates
from enginehouse.core.admission.shared import SharedGate
from enginehouse.core.admission.ticket import QueueStats, Ticket
from enginehouse.errors import PermissionDenied
from enginehouse.settings.schema import AdmissionSettings
from enginehouse.types import Deployment, Principal, Priority

__all__ = ["Admission"]


class Admission:
    """One gate per deployment.

    Args:
        settings: how many may wait, for how long, how they age, and who may go first.
        shared: where the gates of remote upstreams are, when several replicas share them; those of models that run
            here are always our own.
    """

    def __init__(self, settings: AdmissionSettings, shared: SharedGates | None = None) -> None:
        self._settings = settings
        self._shared = shared
        self._gates: dict[str, Gate | SharedGate] = {}
        self._forgotten: set[str] = set()
        self._busy: set[str] = set()
        """Shared gates where somebody stood when they were last looked at."""

    def slot(
        self,
        deployment: Deployment,
        *,
        slots: int | None = None,
        priority: Priority = Priority.NORMAL,
        tenant: str = "",
        limit: int | None = None,
    ) -> Ticket:
        """A ticket; entering it waits for a slot, leaving it passes the slot on.

        Args:
            deployment: where to run.
            slots: how many may run there from now on; the deployment's own when left out.
            priority: the class to wait in.
            tenant: with whom it shares turns inside a class.
            limit: it is refused when so many wait, be `admission.max_queue_size` more.
        """
        gate = self._gate(deployment, slots or deployment.slots)
        self._forgotten.discard(deployment.id)
        gate.resize(slots or deployment.slots)
        return Ticket(gate, priority, tenant, limit)

    def gate_now(self, deployment: Deployment, slots: int | None = None) -> Gate | None:
        """The gate that `slot` would ask, if it is this replica's own and stands ready as it is; else None.

        Args:
            deployment: where to run.
            slots: how many may run there; the deployment's own when left out.
        """
        gate = self._gates.get(deployment.id)
        if not isinstance(gate, Gate) or gate.slots != (slots or deployment.slots):
            return None
        return None if self.shares(deployment) or deployment.id in self._forgotten else gate

    def check_claim(self, principal: Principal, priority: Priority) -> None:
        """Going first is for some roles.

        Raises:
            PermissionDenied: priority high, and not one of `admission.high_priority_roles`.
        """
        if priority is Priority.HIGH and principal.role not in self._settings.high_priority_roles:
            raise PermissionDenied(
                f"The role {principal.role!r} may not claim priority 'high'; ask for normal or low.",
                param="priority",
            )

    def adopt(self, settings: AdmissionSettings) -> None:
        """New limits count for who comes next."""
        self._settings = settings
        for gate in self._gates.values():
            gate.adopt(settings)

    def resize(self, deployment_id: str, slots: int) -> None:
        """There is more or less room to run: more slots let waiters in at once, fewer let those who run end."""
        if gate := self._gates.get(deployment_id):
            gate.resize(slots)

    def longest_wait(self, deployment_id: str) -> float:
        """Seconds for which the one that came first of those who wait has waited; 0 when nobody waits."""
        gate = self._gates.get(deployment_id)
        return gate.longest_wait() if gate else 0.0

    def forget(self, deployment_id: str) -> None:
        """A deployment is gone. Who waits gets its turn at once, and has to see that there is nothing to run on;
        who runs ends as usual. An empty gate goes now or with the next one."""
        if gate := self._gates.get(deployment_id):
            gate.dissolve()
        self._forgotten.add(deployment_id)
        for name in [name for name in self._forgotten if name not in self._gates or self._gates[name].idle]:
            self._gates.pop(name, None)
            self._forgotten.discard(name)
            if self._shared is not None:
                self._shared.close(name)

    async def survey(self, deployments: Iterable[Deployment]) -> None:
        """Ask for all replicas' numbers at those of these gates that are shared, for `stats`."""
        for deployment in deployments:
            if self.shares(deployment):
                gate = self._gate(deployment, deployment.slots)
                if isinstance(gate, SharedGate):
                    await gate.survey()

    async def look(self, *, every: bool) -> None:
        """Keep `stats` of shared gates fresh: where somebody of ours stands, or stood when it was last called.

        Args:
            every: of all gates where anybody of ours has ever stood.
        """
        shared = {name: gate for name, gate in self._gates.items() if isinstance(gate, SharedGate)}
        busy = {name for name, gate in shared.items() if not gate.idle}
        looked, self._busy = busy | self._busy, busy
        for name, gate in shared.items():
            if every or name in looked:
                await gate.survey()

    def stats(self, deployment_id: str) -> QueueStats | None:
        """How things are at one gate; None when nobody has asked there yet."""
        gate = self._gates.get(deployment_id)
        return gate.stats() if gate else None

    def _gate(self, deployment: Deployment, slots: int) -> Gate | SharedGate:
        """The gate of a deployment; one that has become remote, or local, has a new one."""
        gate = self._gates.get(deployment.id)
        if gate is None or isinstance(gate, SharedGate) != self.shares(deployment):
            gate = self._gates[deployment.id] = self._open(deployment, slots)
        return gate

    def _open(self, deployment: Deployment, slots: int) -> Gate | SharedGate:
        if self._shared is not None and self.shares(deployment):
            return self._shared.open(deployment, slots, self._settings)
        return Gate(slots, self._settings)

    def shares(self, deployment: Deployment) -> bool:
        """Whether other replicas stand in the same line."""
        return self._shared is not None and deployment.base_url is not None
