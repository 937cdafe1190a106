"""The catalogue: what models there are, what they are called, and where the list comes from."""

from enginehouse.core.catalogue.build import Common, build_model, common_of, from_settings
from enginehouse.core.catalogue.catalogue import Catalogue, Change
from enginehouse.core.catalogue.defaults import DEFAULT_MODELS
from enginehouse.core.catalogue.enrich import Locate, enrich, read_cards
from enginehouse.core.catalogue.names import RESERVED, check_name
from enginehouse.core.catalogue.watch import watch_folder

__all__ = [
    "DEFAULT_MODELS",
    "RESERVED",
    "Catalogue",
    "Change",
    "Common",
    "Locate",
    "build_model",
    "check_name",
    "common_of",
    "enrich",
    "from_settings",
    "read_cards",
    "watch_folder",
]
