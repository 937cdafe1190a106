"""The catalogue and the store of model files as the settings describe them, without a service."""

import asyncio
import time
from pathlib import Path

from enginehouse.cli.console import remarks
from enginehouse.cli.progress import shown
from enginehouse.core.catalogue import Catalogue, enrich
from enginehouse.core.catalogue.shelf import Shelf
from enginehouse.engines.metadata import Cards
from enginehouse.settings.schema import Settings
from enginehouse.stores.artifacts import Artifacts
from enginehouse.types import Model

__all__ = ["artifacts_of", "configured", "fetch", "size_of"]


def artifacts_of(settings: Settings) -> Artifacts:
    """Where fetched files are kept."""
    return Artifacts(settings.data_dir / "artifacts", settings.sources)


def configured(settings: Settings) -> Catalogue:
    """The models a service with these settings would have now.

    Raises:
        SettingsError: an entry says too little, or two models claim one name.
    """
    catalogue = Catalogue(asyncio.run(enrich(settings, Cards(), artifacts_of(settings).local)))
    if settings.models_dir is not None:
        shelf = Shelf(settings.models_dir, settle=0, slots=settings.admission.default_slots)
        catalogue.replace("models_dir", shelf.look(time.time()).models)
    return catalogue


def fetch(model: Model, artifacts: Artifacts) -> None:
    """Bring what is missing of a model's files here, with progress on standard error.

    Raises:
        SourceError: they cannot be had; the message says why.
    """
    for deployment in model.deployments:
        source, sha256 = deployment.source, deployment.sha256
        if source is not None and artifacts.local(source, sha256) is None:
            with shown(remarks()) as progress:
                asyncio.run(artifacts.fetch(source, sha256, progress))


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.stat().st_size for file in files if file.is_file())
