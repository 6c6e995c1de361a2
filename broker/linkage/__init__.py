"""Linking records of the same person, without labels.

What must not go in here: anything but the names that this package offers.
"""

from broker.linkage.links import Constraint, Decision, cluster, decide, dedupe, link
from broker.linkage.model import Model
from broker.linkage.schema import Field, Kind, Schema

__all__ = ["Constraint", "Decision", "Field", "Kind", "Model", "Schema", "cluster", "decide", "dedupe", "link"]
