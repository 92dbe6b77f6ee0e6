"""Models, their names and batch shapes, and remembered requests: schema version 1."""

import sqlalchemy as sa
from alembic import op

from verifier.storage.revision import mark

revision = "0001"
down_revision = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """From nothing."""
    op.create_table(
        "models",
        sa.Column("sequence", WHOLE, primary_key=True),
        sa.Column("project", sa.String, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("weights_sha256", sa.String, nullable=False, index=True),
        sa.Column("manifest", sa.String, nullable=False),
        sa.Column("size", WHOLE, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("batch_difference", sa.Float, nullable=False),
        sa.Column("reference_difference", sa.Float),
        sa.UniqueConstraint("project", "digest"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "aliases",
        sa.Column("project", sa.String, primary_key=True),
        sa.Column("alias", sa.String, primary_key=True),
        sa.Column("digest", sa.String, nullable=False, index=True),
        sa.ForeignKeyConstraint(["project", "digest"], ["models.project", "models.digest"], ondelete="CASCADE"),
    )
    op.create_table(
        "batch_shapes",
        sa.Column("digest", sa.String, primary_key=True),
        sa.Column("device", sa.String, primary_key=True),
        sa.Column("dtype", sa.String, primary_key=True),
        sa.Column("purpose", sa.String, primary_key=True),
        sa.Column("rows", WHOLE, nullable=False),
    )
    op.create_table(
        "requests",
        sa.Column("request_id", sa.String, primary_key=True),
        sa.Column("fingerprint", sa.String, nullable=False),
        sa.Column("response", sa.String, nullable=False),
        sa.Column("created", sa.Float, nullable=False, index=True),
    )
    mark(op.get_bind(), revision)
