"""Matching of records: how alike texts are, many against many.

What must not go in here: anything but the names that this package offers.
"""

from broker._native.matching import Choices
from broker.matching.distances import Scorer, cdist, cpdist, jaro, jaro_winkler, levenshtein

__all__ = ["Choices", "Scorer", "cdist", "cpdist", "jaro", "jaro_winkler", "levenshtein"]
