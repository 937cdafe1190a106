"""Composition root: wires every room together, by hand, in one exit stack whose order is the shutdown's order.

The only package that knows every other. `ground` opens what the service stands on, `rooms` joins that into what it
can do, `doors` lists how it is reached, and `house` is all of it, running.
"""

from enginehouse.app.house import House, open_house

__all__ = ["House", "open_house"]
