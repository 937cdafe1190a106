"""Measures what the gateway adds to a request: a mock upstream, a load generator, and the run that uses them.

`python -m bench` runs it. Nothing in here is imported by the service.
"""
