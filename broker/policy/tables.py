"""The tables of the control plane, as the newest migration leaves them. What must not go in here: statements."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

metadata = MetaData()

# What is in force: the values of the catalogue directory and the grants that were approved.
entry = Table(
    "catalogue_entry",
    metadata,
    Column("kind", String(16), nullable=False),
    Column("key", String(128), nullable=False),
    Column("document", LargeBinary, nullable=False),  # msgpack of the value, names in order
    Column("origin", String(16), nullable=False),  # "directory", or "workflow" for a grant that was requested
    Column("version", Integer, nullable=False),  # the revision that wrote it
    PrimaryKeyConstraint("kind", "key"),
    Index("catalogue_entry_version", "version"),
)

# What is no longer in force, so that who was at an earlier revision can catch up without reading everything.
removal = Table(
    "catalogue_removal",
    metadata,
    Column("kind", String(16), nullable=False),
    Column("key", String(128), nullable=False),
    Column("version", Integer, nullable=False),
    PrimaryKeyConstraint("kind", "key"),
    Index("catalogue_removal_version", "version"),
)

revision = Table(
    "catalogue_revision",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=True),
    Column("applied_at", DateTime(timezone=True), nullable=False),
    Column("added", Integer, nullable=False),
    Column("changed", Integer, nullable=False),
    Column("removed", Integer, nullable=False),
)

# Every change, for the audit logs of the brokers that follow: names of what was changed, never what it was changed to.
change = Table(
    "control_change",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("revision", Integer, nullable=False),  # in which it was made, or the newest at the time
    Column("at", DateTime(timezone=True), nullable=False),
    Column("actor", String(256), nullable=False),
    Column("method", String(64), nullable=False),
    Column("target", String(160), nullable=False),  # e.g. "grant/g-17"
    Column("outcome", String(16), nullable=False),
)

# Every grant that ever was, declared in a directory or requested.
grant_life = Table(
    "grant_life",
    metadata,
    Column("id", String(96), primary_key=True),
    Column("origin", String(16), nullable=False),  # as in catalogue_entry, or "removed" from the directory
    Column("state", String(16), nullable=False),
    Column("consumer", String(96), nullable=False),
    Column("interface", String(96), nullable=False),
    Column("provider", String(96), nullable=False),
    Column("terms", LargeBinary, nullable=False),  # msgpack of the grant
    Column("valid_until", DateTime(timezone=True), nullable=False),  # that of the terms
    Column("requested_at", DateTime(timezone=True), nullable=False),
    Column("decide_by", DateTime(timezone=True)),  # null: nothing is to be decided
    Column("request_id", String(128), unique=True),  # of the request that made it; null for a declared one
    Index("grant_life_state", "state", "id"),
    Index("grant_life_end", "state", "valid_until"),
    Index("grant_life_consumer", "consumer", "state", "id"),
    Index("grant_life_provider", "provider", "state", "id"),
    Index("grant_life_interface", "interface", "id"),
)

grant_transition = Table(
    "grant_transition",
    metadata,
    Column("id", String(96), nullable=False),
    Column("number", Integer, nullable=False),  # 1, 2, … within a grant
    Column("state", String(16), nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("actor", String(256), nullable=False),
    Column("reason", Text, nullable=False),
    PrimaryKeyConstraint("id", "number"),
)

# How much of a quota has been handed out, in blocks, to the cores that share this database.
quota_use = Table(
    "quota_use",
    metadata,
    Column("grant_id", String(96), nullable=False),
    Column("period", String(10), nullable=False),  # a day, "2026-11-22", or "total"
    Column("used", BigInteger, nullable=False),
    PrimaryKeyConstraint("grant_id", "period"),
)

# Which subjects a grant was used for on a day, as keyed hashes.
quota_subject = Table(
    "quota_subject",
    metadata,
    Column("grant_id", String(96), nullable=False),
    Column("day", String(10), nullable=False),
    Column("subject", LargeBinary(16), nullable=False),
    PrimaryKeyConstraint("grant_id", "day", "subject"),
)

# What the last probe found of every resource, and since when that is so.
mount_state = Table(
    "mount_state",
    metadata,
    Column("resource", String(64), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("since", DateTime(timezone=True), nullable=False),
    Column("probed_at", DateTime(timezone=True), nullable=False),
)
