"""Semantic: whether the answer to one question may be given to another, and how sure that is."""
