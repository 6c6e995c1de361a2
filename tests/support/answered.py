"""What was answered, as a broker's metrics page tells it: by whom, from what.

What must not go in here: other metrics.
"""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.support.running import RunningBroker


def counts(broker: RunningBroker) -> dict[tuple[str, ...], float]:
    """Answers by source, calls by method, and how many a front has given itself, as the page tells them."""
    found: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(broker.metrics()):
        for sample in family.samples:
            labels = sample.labels
            if sample.name == "broker_calls_total":
                found["calls", labels["interface"], labels["outcome"], labels["source"]] = sample.value
            elif sample.name == "grpc_server_handled_total":
                found["handled", labels["grpc_method"], labels["grpc_code"]] = sample.value
            elif sample.name == "broker_front_handling_seconds_count":
                found[("natively",)] = sample.value
    return found


def grown(broker: RunningBroker, before: dict[tuple[str, ...], float]) -> dict[tuple[str, ...], float]:
    return {name: count - before.get(name, 0) for name, count in counts(broker).items() if count != before.get(name, 0)}
