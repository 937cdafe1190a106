"""Model sources: a path, a file of a model hub or a file of a wheel, fetched once, checked and kept readable."""

from enginehouse.stores.artifacts.patience import Patience
from enginehouse.stores.artifacts.progress import SILENT, Progress
from enginehouse.stores.artifacts.store import Artifacts

__all__ = ["SILENT", "Artifacts", "Patience", "Progress"]
