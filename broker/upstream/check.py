"""What only the connectors can judge of a catalogue: whether an interface can be asked of its provider as it says. Pure."""

from __future__ import annotations

from broker.model.catalogue import HttpEndpoint, HttpOperation, Interface, Provider, SqlEndpoint, SqlOperation
from broker.upstream.dialect import check_endpoint
from broker.upstream.query import check_query, check_url


def connector_problems(interface: Interface, provider: Provider) -> list[str]:
    """Return what is wrong, each beginning with the key it is about; nothing for connectors without rules of their own."""
    operation, endpoint = interface.operation, provider.endpoint
    if isinstance(operation, SqlOperation) and isinstance(endpoint, SqlEndpoint):
        return [*check_query(operation.query, interface.arguments), *check_url(endpoint.url)]
    if isinstance(operation, HttpOperation) and isinstance(endpoint, HttpEndpoint):
        return check_endpoint(endpoint, operation)
    return []
