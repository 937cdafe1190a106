"""Structured: answers that meet the caller's JSON schema, held to it by the engine or checked here."""

from enginehouse.core.structured.structured import Ask, Mode, Outcome, Structured

__all__ = ["Ask", "Mode", "Outcome", "Structured"]
