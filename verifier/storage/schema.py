"""The tables of the one database, the same in SQLite and in PostgreSQL.

A change here comes with a migration (migrations/versions) and a new `HEAD`; tests hold the two together.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

REVISIONS = ("0001", "0002", "0003")
"""Every revision that a release has written, oldest first."""

HEAD = REVISIONS[-1]
"""The revision of the tables below."""

WHOLE = BigInteger().with_variant(Integer(), "sqlite")
"""64 bits on both: SQLite's INTEGER has them, PostgreSQL's has 32."""

METADATA = MetaData()

MODELS = Table(
    "models",
    METADATA,
    Column("sequence", WHOLE, primary_key=True),  # order of registration; never used twice
    Column("project", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("weights_sha256", String, nullable=False, index=True),
    Column("manifest", String, nullable=False),
    Column("size", WHOLE, nullable=False),
    Column("created", Float, nullable=False),
    Column("batch_difference", Float, nullable=False),
    Column("reference_difference", Float),
    UniqueConstraint("project", "digest"),
    sqlite_autoincrement=True,
)

ALIASES = Table(
    "aliases",
    METADATA,
    Column("project", String, primary_key=True),
    Column("alias", String, primary_key=True),
    Column("digest", String, nullable=False, index=True),
    ForeignKeyConstraint(["project", "digest"], ["models.project", "models.digest"], ondelete="CASCADE"),
)

BATCH_SHAPES = Table(  # outlives the model: the same version registered again keeps its shape, hence its bits
    "batch_shapes",
    METADATA,
    Column("digest", String, primary_key=True),
    Column("device", String, primary_key=True),
    Column("dtype", String, primary_key=True),
    Column("purpose", String, primary_key=True),
    Column("rows", WHOLE, nullable=False),
)

REQUESTS = Table(
    "requests",
    METADATA,
    Column("request_id", String, primary_key=True),
    Column("fingerprint", String, nullable=False),
    Column("response", String, nullable=False),
    Column("created", Float, nullable=False, index=True),
)

ATTEMPTS = Table(  # what was tried on an input, before it was known how it ended; never deleted
    "attempts",
    METADATA,
    Column("project", String, primary_key=True),
    Column("model_digest", String, primary_key=True),
    Column("input_digest", String, primary_key=True),
    Column("noise", String, primary_key=True),
    Column("sigma", Float, primary_key=True),
    Column("attempt", String, primary_key=True),
    Column("alpha", Float, nullable=False),
    Column("created", Float, nullable=False),
)

DATASETS = Table(  # see `verifier.dataset.DatasetInfo`; the inputs are files
    "datasets",
    METADATA,
    Column("sequence", WHOLE, primary_key=True),  # order of registration; never used twice
    Column("project", String, nullable=False),
    Column("digest", String, nullable=False, index=True),
    Column("size", WHOLE, nullable=False),
    Column("shape", String, nullable=False),  # JSON, as in "[3, 32, 32]"
    Column("labelled", Boolean, nullable=False),
    Column("classes", WHOLE),
    Column("faults", WHOLE, nullable=False),
    Column("bytes", WHOLE, nullable=False),
    Column("created", Float, nullable=False),
    UniqueConstraint("project", "digest", name="uq_datasets_project_digest"),
    sqlite_autoincrement=True,
)

DATASET_NAMES = Table(
    "dataset_names",
    METADATA,
    Column("project", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("digest", String, nullable=False, index=True),
    ForeignKeyConstraint(
        ["project", "digest"],
        ["datasets.project", "datasets.digest"],
        name="fk_dataset_names_datasets",
        ondelete="CASCADE",
    ),
)

JOBS = Table(  # see `verifier.job.Job`
    "jobs",
    METADATA,
    Column("sequence", WHOLE, primary_key=True),  # order of creation; never used twice
    Column("id", String, nullable=False),
    Column("project", String, nullable=False),
    Column("spec", String, nullable=False),
    Column("model_digest", String, nullable=False),
    Column("dataset_digest", String, nullable=False, index=True),
    Column("priority", WHOLE, nullable=False),
    Column("state", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("inputs", WHOLE, nullable=False),
    Column("done", WHOLE, nullable=False),
    Column("certified", WHOLE, nullable=False),
    Column("abstained", WHOLE, nullable=False),
    Column("failed", WHOLE, nullable=False),
    Column("forward_passes", WHOLE, nullable=False),
    Column("created", Float, nullable=False),
    Column("started", Float),
    Column("finished", Float),
    Column("attempt", WHOLE, nullable=False),  # of the latest claim: the fencing token
    Column("owner", String),  # who holds the lease
    Column("lease_until", Float),
    Column("retry_at", Float),  # of a paused job; NULL waits for its owner
    UniqueConstraint("id", name="uq_jobs_id"),
    CheckConstraint("done BETWEEN 0 AND inputs", name="ck_jobs_done"),
    CheckConstraint("certified + abstained + failed <= done", name="ck_jobs_counts"),
    Index("ix_jobs_state_priority", "state", "priority", "sequence"),
    sqlite_autoincrement=True,
)

JOB_ROWS = Table(  # see `verifier.job.JobRow`
    "job_rows",
    METADATA,
    Column("job", WHOLE, ForeignKey("jobs.sequence", name="fk_job_rows_jobs", ondelete="CASCADE"), primary_key=True),
    Column("position", WHOLE, primary_key=True, autoincrement=False),
    Column("input_index", WHOLE, nullable=False),
    Column("verdict", String, nullable=False),
    Column("correct", Boolean),
    Column("radius", Float, nullable=False),
    Column("forward_passes", WHOLE, nullable=False),
    Column("certificate", LargeBinary, nullable=False),
    Column("error", String, nullable=False),
)

GATE_RUNS = Table(  # see `verifier.jobs.gate_runs`; decided once
    "gate_runs",
    METADATA,
    Column("sequence", WHOLE, primary_key=True),  # order of their beginning; never used twice
    Column("id", String, nullable=False),
    Column("project", String, nullable=False),
    Column("key", String, nullable=False),  # digest of (model, baseline, data set, policy)
    Column("attempt", WHOLE, nullable=False),
    Column("decision", String, nullable=False),
    Column("body", String, nullable=False),  # JSON
    Column("created", Float, nullable=False),
    UniqueConstraint("id", name="uq_gate_runs_id"),
    UniqueConstraint("project", "key", "attempt", name="uq_gate_runs_key_attempt"),
    sqlite_autoincrement=True,
)
