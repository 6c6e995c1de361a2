"""How the demonstration judges links: against whose each row is."""

from __future__ import annotations

import pyarrow as pa

from broker.demo.tour_linking import Planted, judge
from tests.linkage_kit import table


def test_links_are_judged_by_whose_the_rows_are() -> None:
    planted = Planted(pa.array([10, 20, 30, 40]), pa.array([40, 20, 11]), 0.5)
    pairs = table(left_row=[2, 4, 3, 1], right_row=[2, 3, 2, 1], decision=["link", "link", "review", "link"])
    judged = judge(pairs, planted)
    assert (judged.right, judged.links, judged.truth) == (1, 3, 2)
    assert (judged.precision, judged.recall, judged.f1) == (1 / 3, 1 / 2, 2 / 5)
