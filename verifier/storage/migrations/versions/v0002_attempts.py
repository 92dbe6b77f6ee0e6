"""What was tried on an input: schema version 2."""

import sqlalchemy as sa
from alembic import op

from verifier.storage.revision import mark

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """From version 1."""
    op.create_table(
        "attempts",
        sa.Column("project", sa.String, primary_key=True),
        sa.Column("model_digest", sa.String, primary_key=True),
        sa.Column("input_digest", sa.String, primary_key=True),
        sa.Column("noise", sa.String, primary_key=True),
        sa.Column("sigma", sa.Float, primary_key=True),
        sa.Column("attempt", sa.String, primary_key=True),
        sa.Column("alpha", sa.Float, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
    )
    mark(op.get_bind(), revision)
