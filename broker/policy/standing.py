"""What a caller is to a grant: its holder, an approver of its provider, the operator, or nobody. Pure.

What nobody may see is not found, so that nobody can learn which grants there are. What must not go in here: whether the step
can follow on where the grant is (workflow.py).
"""

from __future__ import annotations

import msgspec

from broker.errors import NotAllowed, NotFound
from broker.model.catalogue import Consumer
from broker.model.snapshot import Snapshot
from broker.policy import wording
from broker.policy.lives import Life, State
from broker.policy.workflow import Verb


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls, for which holders of grants it speaks, and for which providers it decides."""

    name: str
    holders: frozenset[str] = frozenset()  # itself and its groups
    approves: frozenset[str] = frozenset()
    operator: bool = False  # whoever runs the broker: everything


OPERATOR = Standing(name=wording.OPERATOR, operator=True)


def of_consumer(consumer: Consumer, snapshot: Snapshot) -> Standing:
    """Return what a consumer may do according to the catalogue."""
    groups = (group.id for group in snapshot.groups.values() if consumer.id in group.members)
    return Standing(
        name=consumer.id,
        holders=frozenset({consumer.id, *groups}),
        approves=frozenset(provider.id for provider in snapshot.providers.values() if consumer.id in provider.approvers),
    )


def sees(standing: Standing, life: Life) -> bool:
    """Whether a caller may know of a grant."""
    return standing.operator or life.consumer in standing.holders or life.provider in standing.approves


def check_request(standing: Standing, consumer: str) -> None:
    """Raises NotAllowed where somebody asks for somebody else."""
    if not standing.operator and consumer not in standing.holders:
        raise NotAllowed("terms.consumer: must be the caller, or a group that it is a member of")


def check(standing: Standing, verb: Verb, life: Life) -> None:
    """Let a step pass that is the caller's to take.

    Raises:
        NotFound: the caller may not know of the grant.
        NotAllowed: it is for somebody else to decide.
    """
    if not sees(standing, life):
        raise NotFound("no such grant")
    approver = standing.operator or life.provider in standing.approves
    if verb is Verb.REVOKE and not standing.operator:
        _check_revoke(standing, life, approver)
    elif not approver:
        raise NotAllowed(f"only an approver of the provider may {verb} a grant")
    elif verb is Verb.APPROVE and life.consumer in standing.holders and not standing.operator:
        raise NotAllowed("an approver may not approve a grant of its own, or of a group that it is in; another one may")


def _check_revoke(standing: Standing, life: Life, approver: bool) -> None:
    """A request is withdrawn by those who made it; a grant is given up by its own consumer, not by one of a group."""
    if life.state is State.REQUESTED:
        if life.consumer not in standing.holders:
            raise NotAllowed("only its consumer may withdraw a request; an approver rejects it")
    elif not approver and life.consumer != standing.name:
        raise NotAllowed("only an approver of the provider, or the consumer itself, may revoke a grant")
