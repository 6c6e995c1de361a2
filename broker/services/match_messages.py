"""Messages of `Match`, `BatchMatch` and `StreamMatches`: a comparison as it is asked and answered, and why one failed.

What must not go in here: RPCs (exchange_service.py), and what a verdict is.
"""

from __future__ import annotations

from collections.abc import Mapping

import grpc
from google.protobuf.duration_pb2 import Duration

from broker.errors import BrokerError, InvalidRequest, Violation
from broker.model.body import wire
from broker.model.call import FieldVerdict, Matched, Request
from broker.services import caller
from broker.services.caller import Context
from broker.v1 import exchange_pb2 as pb


def request(message: pb.MatchRequest, context: Context) -> Request:
    """Return what a message asks; a base is asked by the interface of its name.

    Raises:
        InvalidRequest: neither a base nor an interface is named.
    """
    target = message.base or message.interface
    if not target:
        raise InvalidRequest(Violation("target", "is required: a base or an interface"))
    return Request(
        interface=target,
        arguments=message.key,
        asserted=message.asserted,
        **caller.circumstances(message, context, "Match"),
    )


def response(matched: Matched) -> pb.MatchResponse:
    """Return the answer, which tells nothing of the record but verdicts, its state and where it comes from."""
    whole = pb.CallResponse.FromString(wire(matched.answer))
    whole.provenance.ClearField("digest")  # of the record, which could be guessed at
    return pb.MatchResponse(
        outcome=whole.outcome,
        verdicts=verdicts(matched.comparison.verdicts),
        status=pb.SubjectStatus.ValueType(matched.comparison.status),
        overall=pb.Verdict.ValueType(matched.comparison.overall or 0),
        provenance=whole.provenance,
        audit_id=whole.audit_id,
    )


def verdicts(found: Mapping[str, FieldVerdict]) -> dict[str, pb.FieldVerdict]:
    """Return verdicts by field."""
    return {name: pb.FieldVerdict(verdict=pb.Verdict.ValueType(one.verdict), score=one.score) for name, one in found.items()}


def failure(error: BrokerError) -> pb.Failure:
    """Return why one item failed, as `google.rpc` would tell it."""
    found = pb.Failure(
        code=grpc.StatusCode[error.code].value[0],
        message=str(error),
        reason=error.reason,
        metadata={"origin": error.origin, **{name: text for name, text in error.metadata().items() if text}},
    )
    if isinstance(error, InvalidRequest):
        found.field_violations.extend(pb.FieldViolation(field=v.field, description=v.rule) for v in error.violations)
    if error.retry_after_s is not None:
        nanos = round(error.retry_after_s * 1_000_000_000)
        found.retry_after.CopyFrom(Duration(seconds=nanos // 1_000_000_000, nanos=nanos % 1_000_000_000))
    return found
