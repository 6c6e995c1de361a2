"""Messages of `Search`: whom is looked for, and who was found.

What must not go in here: the RPC (exchange_service.py), and who is found.
"""

from __future__ import annotations

from broker.errors import InvalidRequest, Violation
from broker.model.call import Candidate, Request, Searched
from broker.search import Bounds
from broker.services import caller
from broker.services.caller import Context
from broker.services.match_messages import verdicts
from broker.v1 import exchange_pb2 as pb


def request(message: pb.SearchRequest, context: Context) -> tuple[Request, Bounds]:
    """Return what a message asks; a base is asked by the interface of its name.

    Raises:
        InvalidRequest: no base is named.
    """
    if not message.base:
        raise InvalidRequest(Violation("base", "is required"))
    who = caller.circumstances(message, context, "Search")
    asked = Request(interface=message.base, arguments={}, known=message.known, **who)
    return asked, Bounds(most=message.max_candidates, least_probability=message.min_probability)


def response(searched: Searched) -> pb.SearchResponse:
    """Return the answer."""
    return pb.SearchResponse(
        candidates=[_candidate(one) for one in searched.candidates],
        decision=pb.Decision.ValueType(searched.decision),
        audit_id=searched.audit_id,
    )


def _candidate(found: Candidate) -> pb.Candidate:
    return pb.Candidate(
        probability=found.probability,
        decision=pb.Decision.ValueType(found.decision),
        verdicts=verdicts(found.verdicts),
        payload=found.payload,
        guards=found.guards,
    )
