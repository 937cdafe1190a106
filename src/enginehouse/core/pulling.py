"""A model's files brought where they are needed: onto this machine, or onto the disk of an Ollama server."""

from contextlib import aclosing

from enginehouse.engines.ollama import Ollama, server_of
from enginehouse.errors import InvalidRequest
from enginehouse.stores.artifacts import Artifacts, Progress
from enginehouse.types import Deployment, EngineName, Model

__all__ = ["can_pull", "pull", "pull_model"]

_SILENCE = 600.0
"""Seconds in which an Ollama server that pulls has to say something."""


def can_pull(deployment: Deployment) -> bool:
    """Whether it has files that can be asked for."""
    return deployment.source is not None or deployment.engine is EngineName.OLLAMA


async def pull_model(model: Model, artifacts: Artifacts, progress: Progress) -> None:
    """All its files, wherever it runs; what is there already is not fetched again.

    Raises:
        InvalidRequest: it runs where nothing can be pulled.
        SourceError, EngineError: they cannot be had.
    """
    found = [deployment for deployment in model.deployments if can_pull(deployment)]
    if not found:
        raise InvalidRequest(f"The model {model.id!r} has no files to fetch: it runs elsewhere.", param="model")
    for deployment in found:
        await pull(deployment, artifacts, progress)


async def pull(deployment: Deployment, artifacts: Artifacts, progress: Progress) -> str:
    """The files of one deployment; returns where they are now.

    Raises:
        SourceError, EngineError: they cannot be had.
    """
    if deployment.source is not None:
        return str(await artifacts.fetch(deployment.source, deployment.sha256, progress))
    async with server_of(deployment, _SILENCE) as server:
        await _told(server, deployment.name_there, progress)
    return f"{deployment.base_url} ({deployment.name_there})"


async def _told(server: Ollama, name: str, progress: Progress) -> None:
    """Ollama tells of its layers what we tell of files."""
    seen: dict[str, int] = {}
    async with aclosing(server.pull()) as steps:
        async for step in steps:
            layer = f"{name} {step.digest[:19]}"
            if not step.digest:
                progress.waiting(name, step.status)
            elif step.digest not in seen:
                progress.started(layer, step.total or None, step.completed)
            elif step.completed > seen[step.digest]:
                progress.advanced(layer, step.completed - seen[step.digest])
            if step.digest:
                seen[step.digest] = max(step.completed, seen.get(step.digest, 0))
    for digest in seen:
        progress.finished(f"{name} {digest[:19]}")
