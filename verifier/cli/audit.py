"""`verifier audit`: can a log of smoothing be true?"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from verifier.audit.alpha import Inference
from verifier.audit.certificates import audit_certificates
from verifier.audit.findings import Finding, Kind
from verifier.audit.log import read_log
from verifier.audit.report import AuditReport, audit_log
from verifier.audit.scores import Scores
from verifier.errors import InvalidProblem
from verifier.rounding import format_down
from verifier.wire.certificates import certificates_from_lines

EXIT_FINDINGS = 1
FINDINGS_SHOWN = 5
"""Of each kind; --json has all."""

_MEANINGS: dict[Kind, str] = {
    Kind.WRONG_ALPHA: "made at another alpha than stated",
    Kind.ABOVE_LARGEST: "radius larger than n draws can prove",
    Kind.OFF_LATTICE: "radius that no number of votes gives",
    Kind.ROUNDED_UP: "radius rounded up: more is claimed than was proved",
    Kind.NOT_A_RADIUS: "radius that is none",
    Kind.ABSTENTION_CORRECT: "abstention counted as correct",
    Kind.ABSTENTION_RADIUS: "abstention with a radius",
    Kind.CORRECT_DISAGREES: "correct is not predict == label",
    Kind.DUPLICATE: "several rows for one input",
    Kind.MISSING: "rows missing",
    Kind.MALFORMED_TIME: "malformed time",
    Kind.OTHER_PARAMETERS: "made with other parameters than stated",
    Kind.DOES_NOT_HOLD: "certificate that does not follow from its votes",
}


@click.command()
@click.argument("log", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--sigma", type=float, help="Standard deviation of the noise, as stated for LOG.")
@click.option("--n", type=int, help="Draws for each bound, as stated for LOG.")
@click.option("--alpha", type=float, help="Failure probability of each radius, as stated for LOG.")
@click.option("--runner-up", is_flag=True, help="LOG bounds the runner-up too, so that its radii form no lattice.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; docs/audit.md describes it.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing; the exit code tells.")
def audit(
    log: Path,
    sigma: float | None,
    n: int | None,
    alpha: float | None,
    runner_up: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Audit a log of smoothing: can its radii be true, and what do they score at the stated alpha?

    LOG is in the format of Cohen et al. (tab-separated: idx, label, predict, radius, correct, time), or certificates of
    this program, one JSON a line, which state sigma, n and alpha themselves; - reads standard input.

    Exit code 0: nothing found; 1: findings; 2: LOG cannot be read, or the options are wrong.
    """
    report = _audited(log, sigma, n, alpha, runner_up)
    if as_json:
        click.echo(json.dumps(report.to_dict(), allow_nan=False))
    elif not quiet:
        _print(log, report)
    sys.exit(0 if report.clean else EXIT_FINDINGS)


def _audited(log: Path, sigma: float | None, n: int | None, alpha: float | None, runner_up: bool) -> AuditReport:
    lines = _lines(log)
    if next((line for line in lines if line.strip()), "").lstrip("\ufeff \t").startswith("{"):
        if runner_up:
            raise InvalidProblem("certificates state their bounds themselves: leave --runner-up out", field="runner_up")
        return audit_certificates(certificates_from_lines(lines), sigma, n, alpha)
    rows = read_log(lines)
    if sigma is None or n is None or alpha is None:
        missing = [f"--{name}" for name, value in (("sigma", sigma), ("n", n), ("alpha", alpha)) if value is None]
        raise InvalidProblem(
            f"a log does not say how it was made: give {', '.join(missing)} as its authors state them", field=missing[0]
        )
    return audit_log(rows, sigma, n, alpha, runner_up=runner_up)


def _lines(log: Path) -> list[str]:
    try:
        text = sys.stdin.read() if str(log) == "-" else log.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidProblem(f"cannot read {log}: {error}", field="log") from None
    return text.split("\n")


# -- what a reader sees ------------------------------------------------------------------------------------


def _print(log: Path, report: AuditReport) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{log}: {report.rows} rows, {report.abstained} abstained", markup=False)
    console.print(
        f"stated: sigma {report.sigma:g}, n {report.n}, alpha {report.alpha:g}; largest possible radius "
        f"{format_down(report.largest_radius, 4)}"
    )
    if report.inference is not None:
        console.print(f"alpha:  {_told_alpha(report.inference)}")
    console.print()
    for line in _told_findings(report):
        console.print(line, markup=False)
    for note in report.notes:
        console.print(f"note: {note}", markup=False)
    console.print()
    console.print(_scores(report))


def _told_alpha(inference: Inference) -> str:
    if inference.alpha is None:
        return inference.reason
    return f"made at {inference.alpha:g}: {inference.reason}"


def _told_findings(report: AuditReport) -> Iterator[str]:
    if report.clean:
        yield "nothing found"
        return
    yield f"{len(report.findings)} findings"
    kinds: dict[Kind, list[Finding]] = defaultdict(list)
    for item in report.findings:
        kinds[item.kind].append(item)
    for kind in report.counts():
        found = kinds[kind]
        yield f"  {len(found)} x {_MEANINGS[kind]}"
        yield from (f"    {_where(item)}{item.message}" for item in found[:FINDINGS_SHOWN])
        if len(found) > FINDINGS_SHOWN:
            yield f"    and {len(found) - FINDINGS_SHOWN} more; --json lists all"


def _where(item: Finding) -> str:
    return "" if item.line is None else f"line {item.line} (idx {item.idx}): "


def _scores(report: AuditReport) -> Table:
    """As the field prints it: four decimals, rounded to nearest; the last column down, for it is a bound."""
    columns = {"as logged": report.logged}
    if report.rescored is not None and report.rescored_at_least is not None:
        columns |= {f"at alpha {report.alpha:g}": report.rescored, "at least": report.rescored_at_least}
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("certified accuracy at radius")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    told = [_told_scores(scores, down=name == "at least") for name, scores in columns.items()]
    rows = ["clean", *(f"{r:g}" for r in report.logged.radii[1:]), "average radius (ACR)", "median radius"]
    for name, *cells in zip(rows, *told, strict=True):
        table.add_row(name, *cells)
    return table


def _told_scores(scores: Scores, *, down: bool) -> list[str]:
    averages = [scores.average_radius, scores.median_radius]
    if not down:
        return [f"{figure:.4f}" for figure in (*scores.certified_accuracy, *averages)]
    shares = [f"{10_000 * count // scores.inputs / 10_000:.4f}" for count in scores.counts]
    return [*shares, *(format_down(figure, 4) for figure in averages)]
