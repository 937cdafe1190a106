"""Settings: one file and the environment, read once, frozen, and handed out in the smallest piece."""

from enginehouse.settings.environment import current_environ
from enginehouse.settings.loading import load, locate
from enginehouse.settings.schema import Settings
from enginehouse.settings.watching import changed, wants_restart, watch

__all__ = ["Settings", "changed", "current_environ", "load", "locate", "wants_restart", "watch"]
