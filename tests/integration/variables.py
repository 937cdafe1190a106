"""Which environment variables the service reads, for tests of the files that set some."""

from enginehouse.settings.environment import CONFIG_PATH, NAMES, PREFIX, read

__all__ = ["is_setting"]


def is_setting(name: str) -> bool:
    """Whether the service knows this variable."""
    return name in NAMES or name == CONFIG_PATH or (name.startswith(PREFIX) and not read({name: "1"}).mistakes)
