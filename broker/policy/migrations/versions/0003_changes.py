"""What was changed by whom; of what is in force already, that it was there when this began to be kept."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_KINDS = ("providers", "resources", "bases", "interfaces", "consumers", "groups", "grants")


def upgrade() -> None:
    """Add the table. Who put in force what is there is not known any more, but for grants, whose history tells it."""
    op.create_table(
        "control_change",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(256), nullable=False),
        sa.Column("method", sa.String(64), nullable=False),
        sa.Column("target", sa.String(160), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
    )
    for kind in _KINDS:
        op.execute(
            sa.text(
                "INSERT INTO control_change (revision, at, actor, method, target, outcome) "
                "SELECT version, CURRENT_TIMESTAMP, '', '', :prefix || key, 'KEPT' "
                "FROM catalogue_entry WHERE kind = :kind ORDER BY key"
            ).bindparams(prefix=f"{kind.removesuffix('s')}/", kind=kind)
        )
