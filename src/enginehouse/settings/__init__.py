"""Settings: one file and the environment, read once, frozen, and handed out in the smallest piece."""

from enginehouse.settings.schema import Settings

__all__ = ["Settings"]
