"""Grants as contracts: their life, their quotas; changes that can be caught up with; what the mount probes found."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the tables; what was applied before counts as written by revision 0, so that everybody reads it anew."""
    with op.batch_alter_table("catalogue_entry") as entry:
        entry.add_column(sa.Column("origin", sa.String(16), nullable=False, server_default="directory"))
        entry.add_column(sa.Column("version", sa.Integer, nullable=False, server_default="0"))
        entry.create_index("catalogue_entry_version", ["version"])
    op.create_table(
        "catalogue_removal",
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("key", sa.String(128), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("kind", "key"),
    )
    op.create_index("catalogue_removal_version", "catalogue_removal", ["version"])
    _make_grants()
    _make_quotas()
    op.create_table(
        "mount_state",
        sa.Column("resource", sa.String(64), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("probed_at", sa.DateTime(timezone=True), nullable=False),
    )


def _make_grants() -> None:
    op.create_table(
        "grant_life",
        sa.Column("id", sa.String(96), primary_key=True),
        sa.Column("origin", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("consumer", sa.String(96), nullable=False),
        sa.Column("interface", sa.String(96), nullable=False),
        sa.Column("provider", sa.String(96), nullable=False),
        sa.Column("terms", sa.LargeBinary, nullable=False),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decide_by", sa.DateTime(timezone=True)),
        sa.Column("request_id", sa.String(128), unique=True),
    )
    op.create_index("grant_life_state", "grant_life", ["state", "id"])
    op.create_index("grant_life_end", "grant_life", ["state", "valid_until"])
    op.create_index("grant_life_consumer", "grant_life", ["consumer", "state", "id"])
    op.create_index("grant_life_provider", "grant_life", ["provider", "state", "id"])
    op.create_index("grant_life_interface", "grant_life", ["interface", "id"])
    op.create_table(
        "grant_transition",
        sa.Column("id", sa.String(96), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(256), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", "number"),
    )


def _make_quotas() -> None:
    op.create_table(
        "quota_use",
        sa.Column("grant_id", sa.String(96), nullable=False),
        sa.Column("period", sa.String(10), nullable=False),
        sa.Column("used", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("grant_id", "period"),
    )
    op.create_table(
        "quota_subject",
        sa.Column("grant_id", sa.String(96), nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("subject", sa.LargeBinary(16), nullable=False),
        sa.PrimaryKeyConstraint("grant_id", "day", "subject"),
    )
