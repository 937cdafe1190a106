"""What brings models into memory: one launcher an engine, and residency over them."""

from collections.abc import Iterable, Mapping

from enginehouse import __version__
from enginehouse.core.catalogue import Catalogue
from enginehouse.core.copies import told_as_model
from enginehouse.core.listing import Update
from enginehouse.residency.base import Launcher
from enginehouse.residency.launchers.files import FetchedFiles
from enginehouse.residency.launchers.llama import LlamaLauncher
from enginehouse.residency.launchers.onnx import OnnxLauncher
from enginehouse.residency.launchers.remote import RemoteLauncher
from enginehouse.residency.machine import Machine
from enginehouse.residency.manager import Residency, ResidentStatus
from enginehouse.residency.memory import Footprints
from enginehouse.settings.schema import Settings
from enginehouse.telemetry.events import EventStream
from enginehouse.types import EngineName
from enginehouse.types.engines import installed_providers

__all__ = ["make_launchers", "make_residency"]

_VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
_SECRET_WORDS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "DATABASE_URL", "REDIS_URL")


def make_launchers(
    settings: Settings, files: FetchedFiles, environ: Mapping[str, str]
) -> Mapping[EngineName, Launcher]:
    """One for each engine there is."""
    silence = settings.admission.request_timeout
    llama = LlamaLauncher(
        files,
        binary=settings.engines.llama_server.path,
        environ=_for_engines(environ, settings.engines.llama_server.gpu_devices),
        silence=silence,
        grace=settings.residency.stop_grace,
    )
    elsewhere = RemoteLauncher(silence=silence)
    return {
        EngineName.LLAMA_SERVER: llama,
        EngineName.ONNX: OnnxLauncher(files),
        **{name: elsewhere for name in (*EngineName, *installed_providers()) if not name.here},
    }


def make_residency(
    settings: Settings,
    launchers: Mapping[EngineName, Launcher],
    catalogue: Catalogue,
    machine: Machine,
    changes: EventStream[Update],
) -> Residency:
    """The owner of what is in memory, which tells of every change of a model that is listed."""

    def tell(status: ResidentStatus) -> None:
        """How a model leaves memory after it left the list is of no interest to who reads the list."""
        if catalogue.find(status.model) is not None:
            changes.publish(told_as_model(catalogue, residency, status))

    footprints = Footprints(settings.data_dir / "footprints.json", __version__)
    residency = Residency(launchers, settings.residency, footprints=footprints, machine=machine, on_change=tell)
    return residency


def _for_engines(environ: Mapping[str, str], gpus: Iterable[int]) -> Mapping[str, str]:
    """What an engine process may know of our environment: no secrets, and only its GPUs."""
    known = {
        name: value for name, value in environ.items() if not any(word in name.upper() for word in _SECRET_WORDS)
    }
    devices = ",".join(map(str, gpus))
    ordered = {**known, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}  # so that numbers mean what the driver's tools mean
    return {**ordered, _VISIBLE_GPUS: devices} if devices else ordered
