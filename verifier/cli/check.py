"""`verifier check` and `verifier plot`."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from verifier.certificate import Certificate
from verifier.check import check_all
from verifier.cli.methods import region_of, region_options
from verifier.cli.options import load_array
from verifier.client.client import local
from verifier.client.redraw import Redrawn, redraw
from verifier.errors import InvalidProblem
from verifier.plot import plot as draw
from verifier.wire.certificates import certificates_from_lines

EXIT_DOES_NOT_HOLD = 1
EXIT_INCONCLUSIVE = 3


@click.command()
@click.argument("certificates", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--model", help="Compute again with this model (name, digest or .onnx file) and compare.")
@click.option("--inputs", type=click.Path(path_type=Path), help="The inputs that were certified, .npy.")
@region_options
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), help="Where the model is registered.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing; the exit code tells.")
def check(
    certificates: Path,
    model: str | None,
    inputs: Path | None,
    data_dir: Path | None,
    device: str,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Check certificates offline: does every claim follow from its own votes or margins?

    With --model, votes are drawn again with their seeds, and margins bounded again at the stated radii; --bounds (where
    it was given feature by feature), --weights, --lower and --upper say the regions again.

    Exit code 0: all hold; 1: some do not; 3: some differ, but were computed on another device or version.
    """
    said = inputs is not None or any(value is not None for value in options.values())
    regions = region_of(options)
    if (model is None and said) or (model is not None and inputs is None and regions.lower is None):
        raise InvalidProblem(
            "computing again needs --model, and --inputs, or --lower and --upper for boxes", field="model"
        )
    read = _read(certificates)
    report = check_all(read)
    redrawn: list[Redrawn] = []
    if model is not None and report.holds:
        x = load_array(inputs, "inputs") if inputs else None
        with local(data_dir=data_dir, device=device) as client:
            redrawn = redraw(client, model, x, read, regions)
    if as_json:
        click.echo(json.dumps(_facts(report, redrawn)))
    elif not quiet:
        _print(report, redrawn, drawn_again=model is not None)
    sys.exit(_exit_code(report.holds, redrawn))


def _exit_code(holds: bool, redrawn: Iterable[Redrawn]) -> int:
    differing = [answer for answer in redrawn if not answer.equal]
    if not holds or any(answer.comparable for answer in differing):
        return EXIT_DOES_NOT_HOLD
    return EXIT_INCONCLUSIVE if differing else 0


def _print(report: Any, redrawn: list[Redrawn], *, drawn_again: bool) -> None:
    for failure in report.failures:
        for reason in failure.reasons:
            click.echo(f"input {failure.index}: {reason}")
    for warning in report.warnings:
        click.echo(f"warning: {warning}")
    for answer in redrawn:
        if not answer.equal:
            click.echo(f"input {answer.index}: {answer.difference}")
    failed = len(report.failures)
    click.echo(f"{report.checked} certificates, {report.checked - failed} hold, {failed} do not ({report.scope})")
    if redrawn:
        same = sum(answer.equal for answer in redrawn)
        click.echo(
            f"{len(redrawn)} computed again: {same} have the same votes, or bounds that hold again, "
            f"{len(redrawn) - same} have not"
        )
    elif drawn_again and report.failures:
        click.echo("nothing was computed again, because the arithmetic does not hold")
    elif drawn_again:
        click.echo("nothing was computed again: no certificate certifies anything")


def _facts(report: Any, redrawn: list[Redrawn]) -> dict[str, Any]:
    return {
        "checked": report.checked,
        "holds": report.holds,
        "failures": [{"index": item.index, "reasons": list(item.reasons)} for item in report.failures],
        "warnings": list(report.warnings),
        "scope": report.scope,
        "redrawn": [
            {"index": item.index, "equal": item.equal, "comparable": item.comparable, "difference": item.difference}
            for item in redrawn
        ],
    }


@click.command()
@click.argument("certificates", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help=".png, .svg or .pdf.")
def plot(certificates: tuple[Path, ...], out: Path) -> None:
    """Draw certified accuracy against radius, a curve for each file."""
    if not out.absolute().parent.is_dir():
        raise InvalidProblem(f"cannot write {out}: there is no directory {out.absolute().parent}", field="out")
    draw({path.stem: _read(path) for path in certificates}, out)
    click.echo(f"wrote {out}")


def _read(path: Path) -> list[Certificate]:
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidProblem(f"cannot read {path}: {error}", field="certificates") from None
    certificates = certificates_from_lines(text.splitlines())
    if not certificates:
        raise InvalidProblem(f"{path} holds no certificates", field="certificates")
    return certificates
