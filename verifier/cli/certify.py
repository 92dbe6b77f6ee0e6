"""`verifier certify` and `verifier predict`."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import click
from rich.console import Console
from rich.table import Table

from verifier.catalogue import Price
from verifier.certificate import Certificate, SmoothedPrediction
from verifier.cli.options import load_array, open_client, service_options, split_service
from verifier.cli.progress import reporter
from verifier.errors import InvalidProblem, Overloaded, VerifierError
from verifier.methods import Precision, Prediction, Rng, Selection, Smoothing
from verifier.problem import Norm
from verifier.report import certificates_table, render, summarise
from verifier.rounding import format_down
from verifier.wire.convert import certificate_to_json, prediction_to_json

ROWS_SHOWN = 20

_METHODS = {Smoothing.name: Smoothing}
_RNG = click.Choice([rng.value for rng in Rng])
_PRECISION = click.Choice([precision.value for precision in Precision])


@click.command()
@click.option("--model", required=True, help="Name or digest; without --server also the path of an .onnx file.")
@click.option("--inputs", required=True, type=click.Path(path_type=Path), help=".npy, float32 [B, ...].")
@click.option("--labels", type=click.Path(path_type=Path), help=".npy, integers [B].")
@click.option("--norm", default="l2", show_default=True, type=click.Choice([norm.value for norm in Norm]))
@click.option("--method", default="smoothing", show_default=True, type=click.Choice(list(_METHODS)))
@click.option("--sigma", type=float, required=True, help="Standard deviation of the noise, in the input's units.")
@click.option("--n0", type=int, default=100, show_default=True, help="Draws for selecting the class.")
@click.option("--n", type=int, default=10_000, show_default=True, help="Draws for the bound.")
@click.option("--alpha", type=float, default=0.001, show_default=True, help="Failure probability per input.")
@click.option("--selection", default="n0", show_default=True, type=click.Choice([s.value for s in Selection]))
@click.option("--runner-up", is_flag=True, help="Bound the runner-up too: larger radii where no class is near 1.")
@click.option("--precision", default="float32", show_default=True, type=_PRECISION)
@click.option("--rng", type=_RNG, help="Generator of the noise; default: the device's.")
@click.option("--eps", type=float, help="The radius asked about; default: the largest that can be proved.")
@click.option("--seed", type=int, help="0..2^63-1; default: a fresh one.")
@click.option("--timeout", type=float, help="Seconds for the whole call.")
@click.option("--out", type=click.Path(path_type=Path, allow_dash=True), help="Write certificates, one JSON a line.")
@click.option("--dry-run", is_flag=True, help="Check and price the request, do not run it.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors (and JSON where asked).")
@service_options
def certify(
    model: str,
    inputs: Path,
    labels: Path | None,
    norm: str,
    method: str,
    eps: float | None,
    seed: int | None,
    timeout: float | None,
    out: Path | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Certify inputs: a radius for each, with the evidence to check it."""
    x = load_array(inputs, "inputs")
    y = load_array(labels, "labels") if labels else None
    if out:
        _check_writable(out)
    service, parameters = split_service(options)
    chosen = _METHODS[method](**parameters)
    with open_client(**service) as client:
        if dry_run:
            _print_price(client.price(model, x, chosen, norm=norm, eps=eps), as_json)
            return
        with reporter(len(x), len(x) * chosen.draws, quiet=quiet) as report:
            answers = client.certify(
                model, x, chosen, labels=y, norm=norm, eps=eps, seed=seed, timeout=timeout, on_progress=report
            )
            certificates = _collect(answers, out)
    certificates.sort(key=lambda certificate: certificate.index)
    _print_certificates(certificates, out, as_json, quiet)


def _collect(answers: Iterator[Certificate], out: Path | None) -> list[Certificate]:
    """All certificates, each written as soon as it is there; an error says how many came before it."""
    certificates: list[Certificate] = []
    try:
        with ExitStack() as stack:
            lines: TextIO | None = None
            for certificate in answers:
                certificates.append(certificate)
                if out and lines is None:  # not before: what a refused request would have replaced stays
                    lines = stack.enter_context(_open(out))
                if lines:
                    print(certificate_to_json(certificate), file=lines, flush=True)
    except VerifierError as error:
        raise _with_count(error, len(certificates), out) from None
    except OSError as error:
        raise Overloaded(f"cannot write {out}: {error.strerror}", reason="DISK_FULL") from None
    return certificates


def _print_certificates(certificates: list[Certificate], out: Path | None, as_json: bool, quiet: bool) -> None:
    summary = summarise(certificates)
    to_stdout = out is not None and str(out) == "-"
    if as_json:
        click.echo(json.dumps(summary.to_dict()), err=to_stdout)
    elif not quiet:
        console = Console(stderr=to_stdout)
        console.print(certificates_table(certificates, ROWS_SHOWN))
        console.print(render(summary))
        if out is not None and not to_stdout:
            console.print(f"certificates in {out}; check them with: verifier check {out}", highlight=False)


def _print_price(price: Price, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(asdict(price)))
        return
    time = "" if price.seconds is None else f", about {price.seconds:.3g} s at the rate measured last"
    click.echo(
        f"{price.forward_passes:,} forward passes{time}; "
        f"the largest radius that can be proved is {format_down(price.largest_radius, 4)}"
    )
    for warning in price.warnings:
        click.echo(f"note: {warning}", err=True)


def _with_count(error: VerifierError, decided: int, out: Path | None) -> VerifierError:
    """The error, saying what was decided before it: nothing is lost."""
    kept = f"; {decided} certificates came before it" + (f" and are in {out}" if out else "") if decided else ""
    return type(error)(
        error.message + kept, violations=error.violations, reason=error.reason, retry_after=error.retry_after
    )


def _check_writable(out: Path) -> None:
    """Refuse before any work what could not be written after it."""
    if str(out) == "-":
        return
    folder = out.absolute().parent
    if out.is_dir() or not folder.is_dir() or not os.access(out if out.exists() else folder, os.W_OK):
        raise InvalidProblem(
            f"cannot write {out}: is it a directory, or is {folder} missing or protected?", field="out"
        )


def _open(out: Path) -> AbstractContextManager[TextIO]:
    return nullcontext(sys.stdout) if str(out) == "-" else out.open("w", encoding="utf-8")


@click.command()
@click.option("--model", required=True, help="Name or digest; without --server also the path of an .onnx file.")
@click.option("--inputs", required=True, type=click.Path(path_type=Path), help=".npy, float32 [B, ...].")
@click.option("--labels", type=click.Path(path_type=Path), help=".npy, integers [B].")
@click.option("--sigma", type=float, required=True, help="Standard deviation of the noise, in the input's units.")
@click.option("--n", type=int, default=1_000, show_default=True, help="Draws.")
@click.option("--alpha", type=float, default=0.001, show_default=True, help="Failure probability per input.")
@click.option("--precision", default="float32", show_default=True, type=_PRECISION)
@click.option("--rng", type=_RNG, help="Generator of the noise; default: the device's.")
@click.option("--seed", type=int, help="0..2^63-1; default: a fresh one.")
@click.option("--timeout", type=float, help="Seconds for the whole call.")
@click.option("--json", "as_json", is_flag=True, help="Print predictions, one JSON a line.")
@service_options
def predict(
    model: str,
    inputs: Path,
    labels: Path | None,
    seed: int | None,
    timeout: float | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Ask the smoothed classifier for its answers; it abstains where the votes are too divided."""
    x = load_array(inputs, "inputs")
    y = load_array(labels, "labels") if labels else None
    service, parameters = split_service(options)
    with open_client(**service) as client:
        answers = client.predict(model, x, Prediction(**parameters), labels=y, seed=seed, timeout=timeout)
    if as_json:
        for answer in answers:
            click.echo(prediction_to_json(answer))
        return
    _print_predictions(answers)


def _print_predictions(answers: list[SmoothedPrediction]) -> None:
    table = Table("input", "label", "prediction", "p-value", "votes", box=None, pad_edge=False)
    for answer in answers[:ROWS_SHOWN]:
        table.add_row(
            str(answer.index),
            "" if answer.label is None else str(answer.label),
            "abstained" if answer.prediction is None else str(answer.prediction),
            f"{answer.p_value:.3g}",
            f"{answer.votes.top_count}/{answer.votes.n}",
        )
    console = Console()
    console.print(table)
    abstained = sum(answer.prediction is None for answer in answers)
    line = f"{len(answers)} inputs, {abstained} abstained"
    if answers and answers[0].label is not None:
        line += f", {sum(bool(answer.correct) for answer in answers)} correct"
    console.print(line, highlight=False)
