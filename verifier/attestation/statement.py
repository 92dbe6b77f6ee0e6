"""What an attestation states: an in-toto Statement whose subject is the model, around everything the decision rests on.

The result stands in the predicate test-result/v0.1, where other tools read it. Beside it, under `EXTENSION`, stand the
policy, the counts and the bounds, from which anybody can decide again.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from verifier.attestation.reading import difference, parse, read
from verifier.errors import InvalidProblem
from verifier.gate.order import Census
from verifier.gate.outcomes import Record
from verifier.gate.report_json import safe_decision
from verifier.gating import Decision, GateRun, Outcome

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://in-toto.io/attestation/test-result/v0.1"
EXTENSION = "verifierGate"
SCHEMA_VERSION = 1
"""Of what stands under EXTENSION."""

RESULTS = {Decision.PASS: "PASSED", Decision.FAIL: "FAILED", Decision.INCONCLUSIVE: "FAILED"}
"""There, WARNED is "passed with warnings"; an inconclusive gate has not passed."""

_COLUMNS = [field.name for field in fields(Outcome) if field.name != "position"]


@dataclass(frozen=True)
class Claims:
    """Everything that a statement says.

    Args:
        run: what was decided.
        record: the counts that it was decided from.
        certificates_sha256: of the file of certificates.
        model_manifest: the canonical JSON whose SHA-256 is the model's digest; None where it was not at hand.
        dataset_size: inputs of the data set, from which the committed order follows; None where it was not at hand.
    """

    run: GateRun
    record: Record
    certificates_sha256: str
    model_manifest: str | None = None
    dataset_size: int | None = None


def statement_of(claims: Claims) -> dict[str, Any]:
    """The statement that says this, as JSON values. A function of the claims alone."""
    run = claims.run
    return {
        "_type": STATEMENT_TYPE,
        "subject": [_described(run.model, run.model_digest)],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "result": RESULTS[safe_decision(run)],
            "configuration": _configuration(run),
            "passedTests": [t.name for t in run.thresholds if t.decision is Decision.PASS],
            "warnedTests": [],
            "failedTests": [t.name for t in run.thresholds if t.decision is not Decision.PASS],
            EXTENSION: {
                "schema_version": SCHEMA_VERSION,
                "run": asdict(run) | {"thresholds": [asdict(threshold) for threshold in run.thresholds]},
                "counts": _counts(claims.record),
                "certificates_sha256": claims.certificates_sha256,
                "model_manifest": claims.model_manifest,
                "dataset_size": claims.dataset_size,
            },
        },
    }


def payload_of(claims: Claims) -> bytes:
    """The statement's bytes, in one canonical form."""
    text = json.dumps(statement_of(claims), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def claims_of(payload: bytes) -> Claims:
    """The claims of a statement's bytes.

    Guarantee: `statement_of` of the answer is the statement, field by field. So whatever other tools read in it
    (subject, result, configuration, names of tests) is what the claims say.

    Raises:
        InvalidProblem: it is no such statement, or its parts contradict each other; the message says where.
    """
    statement = parse(payload, "statement")
    predicate = statement.get("predicate")
    extension = predicate.get(EXTENSION) if isinstance(predicate, dict) else None
    if not isinstance(extension, dict):
        raise InvalidProblem(f"the statement has no predicate.{EXTENSION}: it is none of a gate", field="statement")
    if extension.get("schema_version") != SCHEMA_VERSION:
        raise InvalidProblem(
            f"this version reads {EXTENSION} of schema_version {SCHEMA_VERSION}: use the version that wrote it",
            field="statement",
        )
    path = f"predicate.{EXTENSION}"
    claims = Claims(
        run=read(GateRun, extension.get("run"), f"{path}.run"),
        record=_record(extension.get("counts"), f"{path}.counts"),
        certificates_sha256=read(str, extension.get("certificates_sha256"), f"{path}.certificates_sha256"),
        model_manifest=read(str | None, extension.get("model_manifest"), f"{path}.model_manifest"),
        dataset_size=read(int | None, extension.get("dataset_size"), f"{path}.dataset_size"),
    )
    found = difference(statement, json.loads(payload_of(claims)), "statement")
    if found is not None:
        raise InvalidProblem(found, field="statement")
    return claims


def sha256(data: bytes) -> str:
    """In hex."""
    return hashlib.sha256(data).hexdigest()


def _described(name: str, digest: str) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": digest}}


def _configuration(run: GateRun) -> list[dict[str, Any]]:
    baseline = [_described(f"baseline {run.baseline}", run.baseline_digest)] if run.baseline_digest else []
    return [
        _described(f"policy {run.policy_name}", run.policy_digest),
        _described(f"dataset {run.dataset}", run.dataset_digest),
        *baseline,
    ]


def _counts(record: Record) -> dict[str, Any]:
    """By columns: a tenth of the size."""
    columns = {name: [getattr(outcome, name) for outcome in record.outcomes] for name in _COLUMNS}
    return {"census": asdict(record.census), "outcomes": columns}


def _record(counts: Any, path: str) -> Record:
    if not isinstance(counts, dict) or set(counts) != {"census", "outcomes"}:
        raise InvalidProblem(f"{path} must have census and outcomes", field=path)
    columns = counts["outcomes"]
    if not isinstance(columns, dict) or set(columns) != set(_COLUMNS):
        raise InvalidProblem(f"{path}.outcomes must have the columns {', '.join(_COLUMNS)}", field=path)
    lengths = {len(column) if isinstance(column, list) else -1 for column in columns.values()}
    if len(lengths) != 1 or -1 in lengths:
        raise InvalidProblem(f"{path}.outcomes must have columns of one length", field=path)
    outcomes = tuple(
        read(Outcome, {"position": position} | dict(zip(columns, row, strict=True)), f"{path}.outcomes[{position}]")
        for position, row in enumerate(zip(*columns.values(), strict=True))
    )
    return Record(read(Census, counts["census"], f"{path}.census"), outcomes)
