"""This replica among others: its gates to shared upstreams, each with the task that speaks for it."""

import asyncio
from types import TracebackType
from typing import Self

import structlog
from msgspec import Struct

from enginehouse.core.admission.shared import SharedGate
from enginehouse.settings.schema import AdmissionSettings
from enginehouse.stores.kv import Lines
from enginehouse.types import Deployment

__all__ = ["SharedGates"]

log = structlog.get_logger()

_AGAIN_IN = 5.0
"""Seconds a gate whose task has failed goes alone."""
_FAREWELL = 2.0
"""Seconds the store may take to hear that we go."""


class SharedGates:
    """All gates of this replica whose lines other replicas stand in as well; use as a context.

    Args:
        lines: where the lines stand.
        lease: seconds after which what a dead replica held is free.
        share: part of the slots that this replica runs on its own while the store is away.
    """

    def __init__(self, lines: Lines, *, lease: float, share: float) -> None:
        self._lines = lines
        self._lease = lease
        self._share = share
        self._gates: dict[str, _Tended] = {}
        self._tasks = asyncio.TaskGroup()
        lines.listen(self)

    def open(self, deployment: Deployment, slots: int, settings: AdmissionSettings) -> SharedGate:
        """The gate of an upstream, whose line is named as the deployment is; its task runs until `close`.

        One that was opened before and has not been closed is still the gate of those who stand there.
        """
        if tended := self._gates.get(deployment.id):
            tended.gate.adopt(settings)
            return tended.gate
        gate = SharedGate(deployment.id, slots, settings, self._lines, lease=self._lease, share=self._share)
        task = self._tasks.create_task(self._tend(gate), name=f"queue {deployment.id}")
        self._gates[deployment.id] = _Tended(gate=gate, task=task)
        return gate

    def close(self, line: str) -> None:
        """A gate that is idle ends; there need not be one."""
        if tended := self._gates.pop(line, None):
            tended.task.cancel()

    def turn(self, line: str, ticket: str) -> None:
        """The store has let one of ours in."""
        if tended := self._gates.get(line):
            tended.gate.turn(ticket)

    def connection(self, *, up: bool) -> None:
        """The store has gone, or has come back: all gates hear it in this step."""
        for tended in self._gates.values():
            if up:
                tended.gate.come_back()
            else:
                tended.gate.go_alone()
        if self._gates:
            log.info("queues_shared_again" if up else "queues_on_their_own", queues=sorted(self._gates))

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        gates = [tended.gate for tended in self._gates.values()]
        for line in list(self._gates):
            self.close(line)
        await self._tasks.__aexit__(kind, error, trace)
        await _farewell(gates)

    async def _tend(self, gate: SharedGate) -> None:
        while True:
            try:
                await gate.run()
            except Exception:
                log.exception("queue_task_died", again_in=_AGAIN_IN)
            gate.go_alone()
            await asyncio.sleep(_AGAIN_IN)
            if self._lines.up:
                gate.come_back()


class _Tended(Struct, frozen=True):
    """A gate and the task that speaks for it."""

    gate: SharedGate
    task: asyncio.Task[None]


async def _farewell(gates: list[SharedGate]) -> None:
    try:
        async with asyncio.timeout(_FAREWELL):
            for gate in gates:
                await gate.farewell()
    except TimeoutError:
        log.warning("queues_not_told", reason=f"no answer within {_FAREWELL:g} s; leases will end by themselves")
