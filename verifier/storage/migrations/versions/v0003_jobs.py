"""Data sets and their names, jobs and their rows, runs of gates."""

import sqlalchemy as sa
from alembic import op

from verifier.storage.revision import mark

revision = "0003"
down_revision = "0002"

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """From version 2."""
    _create_datasets()
    _create_jobs()
    _create_gate_runs()
    mark(op.get_bind(), revision)


def _create_datasets() -> None:
    op.create_table(
        "datasets",
        sa.Column("sequence", WHOLE, primary_key=True),
        sa.Column("project", sa.String, nullable=False),
        sa.Column("digest", sa.String, nullable=False, index=True),
        sa.Column("size", WHOLE, nullable=False),
        sa.Column("shape", sa.String, nullable=False),
        sa.Column("labelled", sa.Boolean, nullable=False),
        sa.Column("classes", WHOLE),
        sa.Column("faults", WHOLE, nullable=False),
        sa.Column("bytes", WHOLE, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.UniqueConstraint("project", "digest", name="uq_datasets_project_digest"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "dataset_names",
        sa.Column("project", sa.String, primary_key=True),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("digest", sa.String, nullable=False, index=True),
        sa.ForeignKeyConstraint(
            ["project", "digest"],
            ["datasets.project", "datasets.digest"],
            name="fk_dataset_names_datasets",
            ondelete="CASCADE",
        ),
    )


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("sequence", WHOLE, primary_key=True),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("project", sa.String, nullable=False),
        sa.Column("spec", sa.String, nullable=False),
        sa.Column("model_digest", sa.String, nullable=False),
        sa.Column("dataset_digest", sa.String, nullable=False, index=True),
        sa.Column("priority", WHOLE, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("inputs", WHOLE, nullable=False),
        sa.Column("done", WHOLE, nullable=False),
        sa.Column("certified", WHOLE, nullable=False),
        sa.Column("abstained", WHOLE, nullable=False),
        sa.Column("failed", WHOLE, nullable=False),
        sa.Column("forward_passes", WHOLE, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("started", sa.Float),
        sa.Column("finished", sa.Float),
        sa.Column("attempt", WHOLE, nullable=False),
        sa.Column("owner", sa.String),
        sa.Column("lease_until", sa.Float),
        sa.Column("retry_at", sa.Float),
        sa.UniqueConstraint("id", name="uq_jobs_id"),
        sa.CheckConstraint("done BETWEEN 0 AND inputs", name="ck_jobs_done"),
        sa.CheckConstraint("certified + abstained + failed <= done", name="ck_jobs_counts"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_jobs_state_priority", "jobs", ["state", "priority", "sequence"])
    op.create_table(
        "job_rows",
        sa.Column(
            "job",
            WHOLE,
            sa.ForeignKey("jobs.sequence", name="fk_job_rows_jobs", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("position", WHOLE, primary_key=True, autoincrement=False),
        sa.Column("input_index", WHOLE, nullable=False),
        sa.Column("verdict", sa.String, nullable=False),
        sa.Column("correct", sa.Boolean),
        sa.Column("radius", sa.Float, nullable=False),
        sa.Column("forward_passes", WHOLE, nullable=False),
        sa.Column("certificate", sa.LargeBinary, nullable=False),
        sa.Column("error", sa.String, nullable=False),
    )


def _create_gate_runs() -> None:
    op.create_table(
        "gate_runs",
        sa.Column("sequence", WHOLE, primary_key=True),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("project", sa.String, nullable=False),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("attempt", WHOLE, nullable=False),
        sa.Column("decision", sa.String, nullable=False),
        sa.Column("body", sa.String, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.UniqueConstraint("id", name="uq_gate_runs_id"),
        sa.UniqueConstraint("project", "key", "attempt", name="uq_gate_runs_key_attempt"),
        sqlite_autoincrement=True,
    )
