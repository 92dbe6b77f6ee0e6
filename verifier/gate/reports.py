"""The files that a gate leaves behind: for machines, for a CI system, and for people."""

import hashlib
import os
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path

from verifier.certificate import Certificate
from verifier.errors import InvalidProblem
from verifier.gate.outcomes import Record
from verifier.gate.report_html import report_html
from verifier.gate.report_images import ShownInput
from verifier.gate.report_json import report_json
from verifier.gate.report_junit import report_junit
from verifier.gate.report_markdown import report_markdown
from verifier.gating import GateRun
from verifier.wire.certificates import certificate_to_json

REPORT, JUNIT, SUMMARY, PAGE = "report.json", "junit.xml", "summary.md", "report.html"
CERTIFICATES, OUTCOMES = "certificates.jsonl", "outcomes.jsonl"


def write_reports(
    directory: Path,
    run: GateRun,
    certificates: Sequence[Certificate],
    shown: Sequence[ShownInput],
    record: Record,
) -> list[Path]:
    """Write all reports of a run into a directory, which is made where it is missing.

    Guarantee: whenever a report.json is there, it and every file that it names by digest are of one run and whole: an
    older report.json is removed first, the new one is written last, and each file appears under its name at once.

    Args:
        directory: where to; other files in it stay.
        run: what was decided.
        certificates: of the model, of the inputs that were consumed.
        shown: inputs to show as pictures, such as those of `weakest`.
        record: what was consumed, in the committed order; its digest is the run's `counts_digest`.
    Returns:
        The paths, report.json last.
    Raises:
        InvalidProblem: the directory cannot be made or written, two thresholds have one name, or the record is of
            another run.
        Unsupported: an optional dependency is missing.
    """
    if record.digest != run.counts_digest:
        raise InvalidProblem("the record is not the one whose digest the run states", field="record")
    page, junit = report_html(run, certificates, shown, record.outcomes), report_junit(run)
    report_json(run, {})  # refuses what has no report before an older one is removed
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / REPORT).unlink(missing_ok=True)
        digests = {
            CERTIFICATES: _write(directory / CERTIFICATES, (f"{certificate_to_json(c)}\n" for c in certificates)),
            OUTCOMES: _write(directory / OUTCOMES, [record.to_text()]),
            JUNIT: _write(directory / JUNIT, [junit]),
            SUMMARY: _write(directory / SUMMARY, [report_markdown(run)]),
            PAGE: _write(directory / PAGE, [page]),
        }
        _write(directory / REPORT, [report_json(run, digests)])
    except OSError as error:
        reason = error.strerror or str(error)
        raise InvalidProblem(
            f"cannot write reports into {str(directory)!r}: {reason}; name a directory that can be written",
            field="report_dir",
            reason="REPORT_DIRECTORY",
        ) from None
    return [directory / name for name in (*digests, REPORT)]


def certificates_sha256(certificates: Iterable[Certificate]) -> str:
    """SHA-256 of the certificates.jsonl that `write_reports` writes of them."""
    digest = hashlib.sha256()
    for certificate in certificates:
        digest.update(f"{certificate_to_json(certificate)}\n".encode())
    return digest.hexdigest()


def weakest(certificates: Sequence[Certificate], count: int = 12) -> list[Certificate]:
    """The certificates of the smallest radii, the smallest first; by their indices where these are equal."""
    return sorted(certificates, key=lambda c: (c.radius, c.index))[:count]


def _write(path: Path, parts: Iterable[str | bytes]) -> str:
    """Write a file under another name, bring it to the disk, then rename it; its SHA-256."""
    digest = hashlib.sha256()
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            for part in parts:
                data = part if isinstance(part, bytes) else part.encode()
                digest.update(data)
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return digest.hexdigest()
