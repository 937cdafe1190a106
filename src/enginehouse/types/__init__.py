"""The inner vocabulary: what a model, a deployment and a request are, in words every room shares."""

from enginehouse.types.engines import EngineName
from enginehouse.types.models import (
    Deployment,
    Instances,
    Kind,
    Model,
    Operation,
    Price,
    Priority,
    ResidentState,
    Source,
)
from enginehouse.types.rates import Allowance, Rate, Rates
from enginehouse.types.requests import (
    Caching,
    Patience,
    Place,
    Principal,
    Queueing,
    Request,
    Spends,
    Timings,
    Tried,
    Usage,
)

__all__ = [
    "Allowance",
    "Caching",
    "Deployment",
    "EngineName",
    "Instances",
    "Kind",
    "Model",
    "Operation",
    "Patience",
    "Place",
    "Price",
    "Principal",
    "Priority",
    "Queueing",
    "Rate",
    "Rates",
    "Request",
    "ResidentState",
    "Source",
    "Spends",
    "Timings",
    "Tried",
    "Usage",
]
