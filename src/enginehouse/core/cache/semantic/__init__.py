"""Semantic: whether the answer to one question may be given to another, and how sure that is."""

from enginehouse.core.cache.semantic.opening import open_semantic
from enginehouse.core.cache.semantic.semantic import Semantic

__all__ = ["Semantic", "open_semantic"]
