"""The settings a command works with: command line over environment over file over default."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from enginehouse.settings import Settings, current_environ, load, locate
from enginehouse.settings.environment import variable

__all__ = ["Effective", "effective", "overridden"]


class Effective(NamedTuple):
    """Settings and where they come from."""

    path: Path | None
    """The file, if there is one."""
    settings: Settings
    environ: Mapping[str, str]
    """The environment with what the command line says, for whoever reads the file again."""


def effective(
    config: Path | None = None, *, host: str | None = None, port: int | None = None, workers: int | None = None
) -> Effective:
    """Read the settings for a command.

    Args:
        config: the file that was named; without one `CONFIG_PATH` and the usual names are looked for.
        host: the address that was given on the command line.
        port: the port that was given on the command line.
        workers: how many processes were asked for there.

    Raises:
        SettingsError: they are wrong, or the file that was named is not there.
    """
    environ = overridden(current_environ(), {"server.host": host, "server.port": port, "server.workers": workers})
    path = locate(config, environ)
    return Effective(path, load(path, environ), environ)


def overridden(environ: Mapping[str, str], given: Mapping[str, str | int | None]) -> dict[str, str]:
    """The environment with dotted keys set as the command line gives them; None was not given."""
    return {**environ, **{variable(key): str(value) for key, value in given.items() if value is not None}}
