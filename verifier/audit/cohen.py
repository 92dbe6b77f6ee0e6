"""Our certificates in the field's log format, for scripts that read it."""

import datetime
from collections.abc import Iterable, Iterator

from verifier.audit.certificates import rows_of
from verifier.audit.log import COLUMNS
from verifier.audit.radii import format_radius
from verifier.certificate import Certificate
from verifier.errors import InvalidProblem, Unsupported
from verifier.methods import Smoothing


def to_cohen_lines(certificates: Iterable[Certificate]) -> Iterator[str]:
    """The lines of a log, without line ends: a header line, then one for each certificate.

    No radius is printed larger than it was proved, and what proves nothing abstains: predict -1, radius 0.0, correct 0.
    `audit_log` finds nothing in the lines of one run (with `runner_up` where the method has it).

    Args:
        certificates: of smoothing, with labels; their index becomes idx.
    Raises:
        InvalidProblem: a certificate without a label.
        Unsupported: a certificate by another method: the format states neither norm nor region.
    """
    yield "\t".join(COLUMNS)
    for certificate in certificates:
        yield "\t".join(_cells(certificate))


def _cells(c: Certificate) -> tuple[str, ...]:
    if not isinstance(c.method, Smoothing):
        raise Unsupported(
            f"the log format of Cohen et al. is of smoothing only, and input {c.index} was certified by "
            f"{c.method.name}: keep the certificates as JSON lines"
        )
    if c.label is None:
        raise InvalidProblem(
            f"the log format of Cohen et al. needs a label for each input, and input {c.index} has none: "
            "certify with --labels",
            field="labels",
        )
    (row,) = rows_of([c])
    radius = "0.0" if row.abstained else format_radius(row.radius, c.method.sigma)
    took = str(datetime.timedelta(seconds=max(0.0, c.execution.seconds)))
    return str(row.idx), str(row.label), str(row.predict), radius, str(int(row.correct)), took
