"""Models that are registered, changed and deleted while the service runs."""

from enginehouse.core.registration.file import RegistryFile
from enginehouse.core.registration.keeping import SharedRow
from enginehouse.core.registration.registry import Registry

__all__ = ["Registry", "RegistryFile", "SharedRow"]
