"""The catalogue: what models there are, what they are called, and where the list comes from."""

from enginehouse.core.catalogue.build import from_settings
from enginehouse.core.catalogue.catalogue import Catalogue, Change
from enginehouse.core.catalogue.defaults import DEFAULT_MODELS
from enginehouse.core.catalogue.enrich import Locate, enrich
from enginehouse.core.catalogue.names import RESERVED, check_name
from enginehouse.core.catalogue.watch import watch_folder

__all__ = [
    "DEFAULT_MODELS",
    "RESERVED",
    "Catalogue",
    "Change",
    "Locate",
    "check_name",
    "enrich",
    "from_settings",
    "watch_folder",
]
