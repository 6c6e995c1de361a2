"""The report of a linkage: one page that a clerk or an auditor can read, with counts, weights and settings, and no data at all.

What is told of the tables is the names of files and columns; no value and no key comes in here. What must not go in here: how
the page looks (report_page.py), what a level is called (wording.py).
"""

from __future__ import annotations

import datetime as dt
import platform
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from broker.linkage import report_page as draw
from broker.linkage.links import LEAST_PROBABILITY, Constraint, Decision
from broker.linkage.model import DIFFERENT, LEVELS, MISSING, SAME, levels_of
from broker.linkage.outcome import FEW_ROWS, Outcome
from broker.linkage.report_page import Cell
from broker.linkage.schema import Field
from broker.linkage.wording import KIND_TITLES, rule_in_words, wording

_BINS = 20
_PATTERNS = 15
_NEVER = 1e-9  # a level that neither those of one person nor strangers have is not told
_SIDES = ("left", "right")
_REVIEWED = list(Decision).index(Decision.REVIEW)

Levels = npt.NDArray[np.uint8]  # a row a pattern, a column a field
Places = npt.NDArray[np.intp]


class About(NamedTuple):
    """What a report says beside the outcome: names of files, columns that were not used, how long it took, by which version."""

    files: Sequence[str]
    unused: Sequence[Sequence[str]]
    seconds: float
    version: str


def page(outcome: Outcome, about: About) -> str:
    """Write the report as one HTML file."""
    title = "Duplicates of one table" if outcome.within else "Linkage of two tables"
    parts = [
        draw.heading(1, title, "查重报告" if outcome.within else "关联报告"),
        draw.paragraph(_summary(about), "soft"),
        *_figures(outcome),
        *_expected(outcome),
        *_histogram(outcome),
        *_clusters(outcome),
        *_fields(outcome),
        *_patterns(outcome),
        *_compared(outcome),
        *_settings(outcome, about),
        *_how_to_read(),
    ]
    return draw.sheet(title, parts)


def _summary(about: About) -> str:
    files, now = " and ".join(about.files), dt.datetime.now(dt.UTC)
    return f"{files} · {now:%Y-%m-%d %H:%M} UTC · {about.seconds:.1f} s · there is no personal data on this page"


# --- figures ------------------------------------------------------------------------------------------------------------


def _figures(outcome: Outcome) -> Iterator[str]:
    rows = [("", "rows, 记录", f"{outcome.rows[0]:,}", "in the one table")]
    if not outcome.within:
        rows = [("", f"rows, {side} table", f"{count:,}", "") for side, count in zip(_SIDES, outcome.rows, strict=True)]
    linked = outcome.linked_rows("left")
    which = "rows" if outcome.within else "left rows"
    yield draw.figures(
        [
            *rows,
            ("", "compared, 比对", f"{outcome.compared:,}", _of_all(outcome)),
            ("link", "links, 关联", f"{outcome.count(Decision.LINK):,}", f"{linked / outcome.rows[0]:.1%} of the {which}"),
            ("review", "to review, 待核", f"{outcome.count(Decision.REVIEW):,}", "to be looked at by a person"),
            ("", "left alone, 不关联", f"{outcome.count(Decision.NONE):,}", "compared, and not the same person"),
        ]
    )
    if min(outcome.rows) < FEW_ROWS:
        note = f"A table has fewer than {FEW_ROWS} rows, which is little to learn from: take the probabilities for rough."
        yield draw.paragraph(note, "note")


def _of_all(outcome: Outcome) -> str:
    left, right = outcome.rows
    possible = left * (left - 1) / 2 if outcome.within else float(left) * right
    return f"{share(outcome.compared / possible) if possible else '0%'} of all possible pairs"


def _expected(outcome: Outcome) -> Iterator[str]:
    expected = outcome.expected
    wrong, missed = expected.links - expected.linked, expected.matches - expected.linked
    yield draw.heading(2, "How good the links are to be expected", "预期质量")
    yield draw.figures(
        [
            ("link", "expected precision, 准确率", percent(expected.precision), f"wrong among the links: {_about(wrong)}"),
            ("link", "expected recall, 召回率", percent(expected.recall), f"matches not linked: {_about(missed)}"),
            ("review", "matches to be found by review", _about(expected.reviewed), "of those not linked"),
        ]
    )
    yield draw.paragraph(
        "These are estimates: sums of the probabilities that the model itself gave, not a count against the truth. Recall "
        "is of the pairs that were compared; two records of one person that have no key in common (see below) were not, and "
        "are in no figure. To be sure, draw some dozens of links and of pairs for review, and look them up.",
        "note",
    )


def _about(count: float) -> str:
    return f"about {count:,.0f}" if count >= 1 else "less than one"


def _histogram(outcome: Outcome) -> Iterator[str]:
    places = np.minimum((outcome.chances * _BINS).astype(np.int64), _BINS - 1)
    counts = np.bincount(places, minlength=_BINS).tolist()
    middles = [(place + 0.5) / _BINS for place in range(_BINS)]
    bars = [(_decision(outcome, middle), count) for middle, count in zip(middles, counts, strict=True)]
    alone = outcome.compared - len(outcome.chances)
    yield draw.heading(2, "How sure the decisions are", "概率分布")
    yield draw.key(
        [("link", "link"), ("review", "to review"), ("", "left alone")],
    )
    yield draw.figure(
        draw.histogram(bars, outcome.thresholds, "Pairs by probability"),
        "Pairs by their probability; each line up is ten times as many. Dashed lines are the thresholds: "
        f"{_thresholds(outcome)}. Another {alone:,} pairs that were compared are below {LEAST_PROBABILITY} and not drawn. "
        "The more stands at the two ends, the clearer the decisions are.",
    )


def _decision(outcome: Outcome, chance: float) -> str:
    return "link" if chance >= outcome.thresholds.link else "review" if chance >= outcome.thresholds.review else "none"


def _thresholds(outcome: Outcome) -> str:
    return f"review from {outcome.thresholds.review:g}, link from {outcome.thresholds.link:g}"


def _clusters(outcome: Outcome) -> Iterator[str]:
    sizes = outcome.cluster_sizes
    if not sizes:
        return
    persons, rows = sum(sizes.values()), outcome.rows[0]
    yield draw.heading(2, "How many rows one person has", "聚类规模")
    yield draw.paragraph(
        f"Rows that belong together were put together: {rows:,} rows are {persons:,} persons. A cluster grows by the "
        "likeliest pair first, and stops where the rows of both sides speak against it on the average."
    )
    columns = [("n", "rows of a person"), ("n", "persons"), ("n", "rows in all"), ("bar", "share of all rows")]
    yield draw.table(
        columns,
        [[str(size), f"{count:,}", f"{size * count:,}", draw.share_bar(size * count / rows)] for size, count in sizes.items()],
        "sizes",
    )


# --- fields -------------------------------------------------------------------------------------------------------------


def _fields(outcome: Outcome) -> Iterator[str]:
    yield draw.heading(2, "What each field says", "字段权重")
    yield draw.paragraph(
        "For each way in which two values can compare: how often it is so for two records of one person, and for two "
        "records of two people taken at random. From the two comes the weight in bits: each bit for doubles the odds that "
        "it is one person, each bit against halves them. The weights of all fields add up. A value that is not known counts "
        "neither way."
    )
    bits = outcome.model.bits
    most = float(max(np.abs(bits[place, level]) for place in range(len(bits)) for level in _told_levels(outcome, place)))
    for place, field in enumerate(outcome.schema.fields):
        yield draw.heading(3, field.name, "，".join(KIND_TITLES[field.kind]))
        yield _weights(outcome, place, field, most)


def _told_levels(outcome: Outcome, place: int) -> list[int]:
    """Levels of a field that occur, those that speak for a match the most first; of agreement, those that pairs have."""
    levels, bits = outcome.model.levels[:2, place], outcome.model.bits[place]
    field, seen = outcome.schema.fields[place], _seen(outcome, place)
    there = [
        level
        for level in range(DIFFERENT, LEVELS)
        if wording(field.kind, level).name != "not_used"
        and levels[:, level].max() > _NEVER
        and (level < SAME or seen[level] or not len(outcome.chances))
    ]
    return sorted(there, key=lambda level: -bits[level])


def _seen(outcome: Outcome, place: int) -> list[int]:
    """Count the pairs of each level of a field."""
    levels = outcome.pairs[outcome.schema.fields[place].name].to_numpy()
    counts: list[int] = np.bincount(levels, minlength=LEVELS).tolist()
    return counts


def _weights(outcome: Outcome, place: int, field: Field, most: float) -> str:
    columns = [("", "comparison"), ("n", "one person (m)"), ("n", "two people (u)"), ("n", "pairs"), ("n", "bits"), ("bar", "")]
    chances = outcome.model.levels[:, place]
    seen = _seen(outcome, place)
    rows: list[list[str | Cell]] = []
    for level in _told_levels(outcome, place):
        bits = float(outcome.model.bits[place, level])
        told = (_side(bits), signed(bits))
        one, two = share(chances[0, level]), share(chances[1, level])
        rows.append([wording(field.kind, level).meaning, one, two, f"{seen[level]:,}", told, draw.bits_bar(bits, most)])
    return draw.table(columns, rows, "weights")


def _side(bits: float) -> str:
    return "for" if bits > 0 else "against"


# --- patterns -----------------------------------------------------------------------------------------------------------


def _patterns(outcome: Outcome) -> Iterator[str]:
    """Tell the commonest patterns, and those that are for review; all agreements alike, however rare the value."""
    patterns = np.zeros(len(outcome.chances), np.uint64)
    for place, field in enumerate(outcome.schema.fields):
        levels = np.minimum(outcome.pairs[field.name].to_numpy(), SAME)
        patterns |= levels.astype(np.uint64) << np.uint64(4 * place)
    distinct, places, counts = np.unique(patterns, return_inverse=True, return_counts=True)
    found = levels_of(distinct, len(outcome.schema.fields))
    reviewed = np.bincount(places[outcome.decisions == _REVIEWED], minlength=len(counts))
    yield draw.heading(2, "The commonest patterns", "常见模式")
    yield draw.paragraph(
        f"How the fields compare together, in the {len(outcome.chances):,} pairs of a probability of {LEAST_PROBABILITY} or "
        f"more, which have {len(counts):,} patterns. One pattern can have more than one decision: a rare name says more than a "
        "common one, and who could be linked twice is not linked."
    )
    yield _pattern_table(outcome, found, places, np.argsort(-counts, kind="stable")[:_PATTERNS])
    if reviewed.any():
        yield draw.heading(3, "Those for review", "待核模式")
        commonest = np.argsort(-reviewed, kind="stable")[:_PATTERNS]
        yield _pattern_table(outcome, found, places, commonest[reviewed[commonest] > 0])


def _pattern_table(outcome: Outcome, patterns: Levels, places: Places, chosen: Places) -> str:
    fields = [("tag", field.name) for field in outcome.schema.fields]
    columns = [("n", "pairs"), *fields, *(("n", name) for name in ("mean probability", "link", "review", "alone"))]
    return draw.table(columns, [_pattern(outcome, patterns[at].tolist(), places == at) for at in chosen])


def _pattern(outcome: Outcome, levels: list[int], own: npt.NDArray[np.bool_]) -> list[str | Cell]:
    told: list[str | Cell] = [f"{int(own.sum()):,}"]
    for place, (field, level) in enumerate(zip(outcome.schema.fields, levels, strict=True)):
        side = "none" if level == MISSING else "for" if level == SAME else _side(outcome.model.bits[place, level])
        told.append((side, "–" if level == MISSING else wording(field.kind, level).name.replace("_", " ")))
    decided = np.bincount(outcome.decisions[own], minlength=len(Decision)).tolist()
    return [*told, f"{outcome.chances[own].mean():.3f}", *(f"{count:,}" if count else "" for count in decided)]


# --- settings -----------------------------------------------------------------------------------------------------------


def _compared(outcome: Outcome) -> Iterator[str]:
    rules = outcome.model.blocking.rules
    yield draw.heading(2, "Which pairs were compared", "分块规则")
    yield draw.paragraph(
        f"Not every row can be compared with every other. Two rows were compared if they have any one of these {len(rules)} "
        f"things in common. What more than {outcome.model.blocking.cap} rows share was left out ({outcome.dropped:,} such "
        "entries)."
    )
    words = [rule_in_words(outcome.schema, rule) for rule in rules]
    yield draw.table([("n", ""), ("", "in common")], [[str(number), text] for number, text in enumerate(words, 1)], "rules")


def _settings(outcome: Outcome, about: About) -> Iterator[str]:
    model, schema = outcome.model, outcome.schema
    at_most = "one link on each side" if outcome.constraint is Constraint.ONE_TO_ONE else "any number of links"
    compared = ", ".join(f"{field.name} ({KIND_TITLES[field.kind][0]})" for field in schema.fields)
    told = [
        ("thresholds", _thresholds(outcome)),
        ("a row may have", at_most),
        ("fields compared", compared),
        *(
            (f"columns not used, {file}", ", ".join(unused) or "none")
            for file, unused in zip(about.files, about.unused, strict=True)
        ),
        ("matches for one row, by the model", f"{model.matches:.3g}"),
        ("relatives for one row, by the model", ", ".join(f"{kin:.3g}" for kin in model.kin) or "no field tells them"),
        ("method", "Fellegi and Sunter (1969), without examples: fitted by expectation-maximisation to the pairs compared"),
        (
            "versions",
            f"broker {about.version}, Python {platform.python_version()}, NumPy {np.__version__}, Arrow {pa.__version__}",
        ),
    ]
    yield draw.heading(2, "Settings and versions", "设置与版本")
    yield draw.table([("", "setting"), ("", "value")], [list(pair) for pair in told], "settings")


def _how_to_read() -> Iterator[str]:
    yield draw.heading(2, "How to read this page", "阅读说明")
    yield draw.terms(
        [
            ("Pair, 记录对", "Two rows that were compared because they have something in common."),
            (
                "Probability, 概率",
                "How likely it is that the two rows are of one person, by everything that is known of both. Of a hundred "
                "pairs with a probability of 0.9, about ninety are to be expected to be of one person.",
            ),
            ("Link, 关联", "A pair that is taken for one person. Links are what other systems may use."),
            (
                "To review, 待核",
                "A pair that may be one person and may be not: a twin, a namesake, a changed name. A person decides. Two "
                "right resident ids that differ, or a name that differs where no number speaks for it, are never linked by "
                "the machine.",
            ),
            (
                "m and u",
                "The shares in the tables of fields: m among pairs of one person, u among pairs of two people. Where a "
                "share is small it stands as 1 in so many.",
            ),
            (
                "Bits, 权重",
                "The logarithm to the base of two of m / u. Ten bits for: a thousand times likelier to be one person. The "
                "sum of all fields is weighed against how rare it is that two rows are of one person at all.",
            ),
        ]
    )


def share(part: float) -> str:
    """Write a share so that small ones can still be told apart."""
    if part >= 0.01:
        return f"{part:.1%}"
    if part < _NEVER:
        return "never seen"
    digits = max(0, len(str(int(1 / part))) - 2)
    return f"1 in {round(1 / part / 10**digits) * 10**digits:,}"


def signed(bits: float) -> str:
    """Write bits with their sign."""
    return f"{'+' if bits > 0 else '−'}{abs(bits):.1f}"


def percent(part: float) -> str:
    """Write a share that is estimated, which is never all."""
    return f"{part:.2%}" if part < 0.9999 else "above 99.99%"
