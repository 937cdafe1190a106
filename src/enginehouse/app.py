"""Composition root: wires every room together, by hand, in one place."""
