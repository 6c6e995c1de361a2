"""Linking records of the same person, without labels.

What must not go in here: anything but the names that this package offers.
"""

from broker.linkage.links import Constraint, Decision, Linkage, cluster, decide, dedupe, explain, link, trained
from broker.linkage.model import Model
from broker.linkage.schema import Field, Kind, Schema

__all__ = [
    "Constraint",
    "Decision",
    "Field",
    "Kind",
    "Linkage",
    "Model",
    "Schema",
    "cluster",
    "decide",
    "dedupe",
    "explain",
    "link",
    "trained",
]
