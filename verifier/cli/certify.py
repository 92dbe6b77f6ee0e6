"""`verifier certify` and `verifier predict`."""

import json
import math
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
from verifier.cli.methods import (
    PRECISION,
    RNG,
    chosen_method,
    expected_passes,
    method_option,
    parameter_options,
    region_of,
    region_options,
)
from verifier.cli.options import load_array, open_client, service_options, split_service
from verifier.cli.progress import reporter
from verifier.client.asked import Asked, problem_of
from verifier.errors import InvalidProblem, Overloaded, VerifierError
from verifier.methods import BoundMethod, CertifyingMethod, Prediction
from verifier.problem import Norm
from verifier.report import summarise
from verifier.rounding import format_down
from verifier.tables import certificates_table, render
from verifier.wire.certificates import certificate_to_json, prediction_to_json

ROWS_SHOWN = 20


@click.command()
@click.option("--model", required=True, help="Name or digest; without --server also the path of an .onnx file.")
@click.option("--inputs", type=click.Path(path_type=Path), help=".npy, float32 [B, ...].")
@click.option("--labels", type=click.Path(path_type=Path), help=".npy, integers [B].")
@method_option
@click.option("--norm", type=click.Choice([norm.value for norm in Norm]), help="Default: l2 for smoothing, else linf.")
@click.option("--eps", type=float, help="The radius asked about.")
@click.option("--radius", is_flag=True, help="Ask for the largest radius that can be proved: the default.")
@region_options
@parameter_options
@click.option("--seed", type=int, help="0..2^63-1; default: a fresh one.")
@click.option("--timeout", type=float, help="Seconds for the whole call.")
@click.option("--out", type=click.Path(path_type=Path, allow_dash=True), help="Write certificates, one JSON a line.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["jsonl", "cohen"]),
    default="jsonl",
    show_default=True,
    help="Of --out; cohen is the tab-separated log of the field, radii rounded down.",
)
@click.option("--dry-run", is_flag=True, help="Check and price the request, do not run it.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors (and JSON where asked).")
@service_options
def certify(
    model: str,
    inputs: Path | None,
    labels: Path | None,
    seed: int | None,
    timeout: float | None,
    out: Path | None,
    format_: str,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Certify inputs: a radius for each, with the evidence to check it.

    Smoothing certifies the smoothed classifier, with a probability, by draws of noise. The other methods certify the
    network itself by bounds of its logits; they take any norm, a domain, weights, or boxes instead of balls.
    """
    service, options = split_service(options)
    method = chosen_method(options)
    asked = _asked(inputs, labels, options)
    x = load_array(inputs, "inputs") if inputs else None
    if out:
        _check_writable(out)
    with open_client(**service) as client:
        if dry_run:
            _print_price(client.price(model, x, method, **asked), method, as_json, boxes=x is None)
            return
        count, passes = len(problem_of(x, method, asked)), expected_passes(method)
        with reporter(count, passes and count * passes, quiet=quiet) as report:
            answers = client.certify(model, x, method, seed=seed, timeout=timeout, on_progress=report, **asked)
            certificates = _collect(answers, out if format_ == "jsonl" else None)
    certificates.sort(key=lambda certificate: certificate.index)
    if out and format_ == "cohen":
        _write_log(certificates, out)
    _print_certificates(certificates, out, as_json, quiet)


def _asked(inputs: Path | None, labels: Path | None, options: dict[str, Any]) -> Asked:
    """What is asked about the inputs, files read."""
    regions = region_of(options)
    asked = regions.asked()
    boxes = regions.lower is not None or regions.upper is not None
    if boxes == (inputs is not None):
        raise InvalidProblem("give either --inputs, or --lower and --upper for boxes", field="inputs")
    if options["radius"] and boxes:
        raise InvalidProblem("a box has no radius: leave --radius out, or give --inputs", field="eps")
    if options["radius"] and options["eps"] is not None:
        raise InvalidProblem("--eps asks about one radius, --radius for the largest: give one of them", field="eps")
    asked["norm"], asked["eps"] = options["norm"], options["eps"]
    if labels is not None:
        asked["labels"] = load_array(labels, "labels")
    return asked


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


def _write_log(certificates: list[Certificate], out: Path) -> None:
    """The log of the field, in the order of the inputs."""
    from verifier.audit.cohen import to_cohen_lines

    lines = list(to_cohen_lines(certificates))  # refused before anything is written
    with _open(out) as file:
        file.writelines(f"{line}\n" for line in lines)


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


def _print_price(price: Price, method: CertifyingMethod, as_json: bool, *, boxes: bool) -> None:
    if as_json:
        facts = asdict(price)
        if math.isinf(price.largest_radius):  # JSON has no infinity
            facts["largest_radius"] = None
        click.echo(json.dumps(facts))
        return
    work = f"{price.forward_passes:,} forward passes"
    if price.expected_passes is not None:
        work = f"at most {work}, on average about {price.expected_passes:,}"
    if isinstance(method, BoundMethod):
        work = f"work of about {work}"
    if price.seconds is not None:
        work += f", about {price.seconds:.3g} s at the rate measured last"
    click.echo(work if boxes else f"{work}; {_told_largest(price.largest_radius)}")
    for warning in price.warnings:
        click.echo(f"note: {warning}", err=True)


def _told_largest(radius: float) -> str:
    if math.isinf(radius):
        return "no limit to the radius"
    return f"the largest radius that can be proved is {format_down(radius, 4)}"


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
@click.option("--precision", default="float32", show_default=True, type=PRECISION)
@click.option("--rng", type=RNG, help="Generator of the noise; default: the device's.")
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
