"""Enginehouse: one self-hosted service for every model a team uses."""

from importlib.metadata import version

__version__ = version("enginehouse")

__all__ = ["__version__"]
