"""What brings models into memory: one launcher an engine, and residency over them."""

from collections.abc import Mapping

from enginehouse import __version__
from enginehouse.core.catalogue import Catalogue
from enginehouse.core.copies import told_as_model
from enginehouse.core.listing import Update
from enginehouse.residency.base import Launcher
from enginehouse.residency.fleet.replica import FLEET_ENGINES, FleetLauncher, places_beside_fleet
from enginehouse.residency.launchers.environ import engine_environ
from enginehouse.residency.launchers.files import FetchedFiles
from enginehouse.residency.launchers.llama import LlamaLauncher
from enginehouse.residency.launchers.onnx import OnnxLauncher
from enginehouse.residency.launchers.remote import RemoteLauncher
from enginehouse.residency.machine import Machine
from enginehouse.residency.manager import Residency, ResidentStatus
from enginehouse.residency.memory import Footprints
from enginehouse.residency.placement import places
from enginehouse.settings.schema import Settings
from enginehouse.telemetry.events import EventStream
from enginehouse.types import EngineName
from enginehouse.types.engines import installed_providers

__all__ = ["make_launchers", "make_residency"]


def make_launchers(
    settings: Settings, files: FetchedFiles, environ: Mapping[str, str], fleet: FleetLauncher | None
) -> Mapping[EngineName, Launcher]:
    """One for each engine there is.

    Args:
        fleet: loads what lies on the nodes of a fleet, where there is one.
    """
    silence = settings.admission.request_timeout
    llama = LlamaLauncher(
        files,
        binary=settings.engines.llama_server.path,
        environ=engine_environ(environ, settings.engines.llama_server.gpu_devices),
        silence=silence,
        grace=settings.residency.stop_grace,
    )
    elsewhere = RemoteLauncher(silence=silence)
    return {
        EngineName.LLAMA_SERVER: llama,
        EngineName.ONNX: OnnxLauncher(files),
        **({} if fleet is None else dict.fromkeys(FLEET_ENGINES, fleet)),
        **{name: elsewhere for name in (*EngineName, *installed_providers()) if not name.here},
    }


def make_residency(
    settings: Settings,
    launchers: Mapping[EngineName, Launcher],
    catalogue: Catalogue,
    machine: Machine,
    changes: EventStream[Update],
    fleet: FleetLauncher | None,
) -> Residency:
    """The owner of what is in memory, which tells of every change of a model that is listed.

    Args:
        fleet: where there is one, what it loads takes nothing of this machine.
    """

    def tell(status: ResidentStatus) -> None:
        """How a model leaves memory after it left the list is of no interest to who reads the list."""
        if catalogue.find(status.model) is not None:
            changes.publish(told_as_model(catalogue, residency, status))

    footprints = Footprints(settings.data_dir / "footprints.json", __version__)
    residency = Residency(
        launchers,
        settings.residency,
        footprints=footprints,
        machine=machine,
        places=places if fleet is None else places_beside_fleet,
        on_change=tell,
    )
    if fleet is not None:
        fleet.serve(residency)
    return residency
