"""The list of models, and all who have to know when it changes: memory, the gates, the status stream."""

from collections.abc import Callable, Iterable
from typing import Literal, TypeAlias

import structlog
from msgspec import Struct

from enginehouse.core.catalogue import Catalogue, Change
from enginehouse.core.copies import Copies
from enginehouse.residency.manager import Residency, ResidentStatus
from enginehouse.types import Model

__all__ = ["Listed", "Listing", "Update"]

log = structlog.get_logger()

What: TypeAlias = Literal["added", "removed", "changed"]


class Listed(Struct, frozen=True, kw_only=True):
    """A model came into the list, left it, or was described anew."""

    change: What
    status: ResidentStatus
    """How it stood in that moment."""


Update: TypeAlias = ResidentStatus | Listed
"""What the status stream tells."""


class Listing:
    """Changes the catalogue and tells everybody, in one step without an `await`.

    Args:
        publish: hears of every model that was added, removed or changed; it must not wait or raise.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        residency: Residency,
        copies: Copies,
        publish: Callable[[Update], None],
    ) -> None:
        self.catalogue = catalogue
        self.residency = residency
        self.copies = copies
        self._publish = publish

    def replace(self, origin: str, models: Iterable[Model]) -> Change:
        """Let the catalogue hold these models of one origin.

        Raises:
            Conflict, SettingsError: a name would mean two models; nothing has changed then.
        """
        before = {model.id: model for model in self.catalogue.models()}
        change = self.catalogue.replace(origin, models)
        after = {model.id: model for model in self.catalogue.models()}
        for id_ in (*change.removed, *change.changed):
            self.copies.replace(before[id_], after.get(id_))
        self._tell("removed", [before[id_] for id_ in change.removed])
        self._tell("added", [after[id_] for id_ in change.added])
        self._tell("changed", [after[id_] for id_ in change.changed])
        if change:
            log.info(
                "models_changed", origin=origin, added=change.added, removed=change.removed, changed=change.changed
            )
        return change

    def _tell(self, change: What, models: Iterable[Model]) -> None:
        for model in models:
            self._publish(Listed(change=change, status=self.copies.status(model)))
