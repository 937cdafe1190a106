"""The owner of every gate: where a request asks for its turn."""

from enginehouse.core.admission.gate import Gate, QueueStats, Ticket
from enginehouse.errors import PermissionDenied
from enginehouse.settings.schema import AdmissionSettings
from enginehouse.types import Deployment, Principal, Priority

__all__ = ["Admission"]


class Admission:
    """One gate per deployment.

    Args:
        settings: how many may wait, for how long, how they age, and who may go first.
    """

    def __init__(self, settings: AdmissionSettings) -> None:
        self._settings = settings
        self._gates: dict[str, Gate] = {}
        self._forgotten: set[str] = set()

    def slot(
        self,
        deployment: Deployment,
        *,
        slots: int | None = None,
        priority: Priority = Priority.NORMAL,
        tenant: str = "",
    ) -> Ticket:
        """A ticket; entering it waits for a slot, leaving it passes the slot on.

        Args:
            deployment: where to run.
            slots: how many may run there from now on; the deployment's own when left out.
            priority: the class to wait in.
            tenant: with whom it shares turns inside a class.
        """
        gate = self._gates.get(deployment.id)
        if gate is None:
            gate = self._gates[deployment.id] = Gate(slots or deployment.slots, self._settings)
        self._forgotten.discard(deployment.id)
        gate.resize(slots or deployment.slots)
        return Ticket(gate, priority, tenant)

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
        """A deployment is gone. Who waits or runs ends as usual; an empty gate goes now or with the next one."""
        self._forgotten.add(deployment_id)
        for name in [name for name in self._forgotten if name not in self._gates or self._gates[name].idle]:
            self._gates.pop(name, None)
            self._forgotten.discard(name)

    def stats(self, deployment_id: str) -> QueueStats | None:
        """How things are at one gate; None when nobody has asked there yet."""
        gate = self._gates.get(deployment_id)
        return gate.stats() if gate else None
