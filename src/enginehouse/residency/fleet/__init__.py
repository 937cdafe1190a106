"""Many nodes as one house: which node a deployment is placed on, and who has to leave there."""

from enginehouse.residency.fleet.nodes import Health, Node
from enginehouse.residency.fleet.placement import Demand, Fleet, Placement

__all__ = ["Demand", "Fleet", "Health", "Node", "Placement"]
