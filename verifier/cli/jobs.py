"""`verifier jobs`."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import click
from rich.console import Console
from rich.table import Table

from verifier.cli.methods import chosen_method, method_option, parameter_options
from verifier.cli.options import open_client, service_options, split_service
from verifier.dataset import Selection
from verifier.errors import InvalidProblem
from verifier.job import Job, JobProgress, JobResult, JobState
from verifier.problem import Norm
from verifier.wire.certificates import certificate_to_json

EXIT_FAILED = 4


@click.group()
def jobs() -> None:
    """Certify whole data sets in the background, through restarts."""


@jobs.command()
@click.option("--model", required=True, help="Name or digest.")
@click.option("--dataset", required=True, help="Name or digest.")
@click.option("--start", type=int, default=0, show_default=True, help="First input of the slice.")
@click.option("--stop", type=int, help="End of the slice.")
@click.option("--stride", type=int, default=1, show_default=True, help="Of the slice.")
@click.option("--sample", type=int, help="Draw so many of the slice, in a random order.")
@click.option("--sample-seed", type=int, help="Of the sample; default: a fresh one.")
@method_option
@click.option("--norm", type=click.Choice([norm.value for norm in Norm]), help="Default: l2 for smoothing, else linf.")
@click.option("--eps", type=float, help="The radius asked about.")
@click.option("--bounds", nargs=2, type=float, metavar="LO HI", help="Valid inputs, with which balls are cut.")
@parameter_options
@click.option("--seed", type=int, help="Of the noise, 0..2^63-1; default: a fresh one.")
@click.option("--priority", type=int, default=0, show_default=True, help="Larger goes first, -1000..1000.")
@click.option("--request-id", help="UUID4: the same id with the same job again gives the same job.")
@click.option("--dry-run", is_flag=True, help="Check and price the job, do not queue it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@service_options
def submit(
    model: str,
    dataset: str,
    norm: str | None,
    eps: float | None,
    bounds: tuple[float, float] | None,
    seed: int | None,
    priority: int,
    request_id: str | None,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Queue a job: a model, a data set or part of it, a method. Prints its id."""
    service, options = split_service(options)
    selection = _selection(options)
    method = chosen_method(options)
    asked = {
        "norm": norm, "eps": eps, "domain": bounds or None, "selection": selection, "seed": seed, "priority": priority
    }  # fmt: skip
    with open_client(**service) as client:
        if dry_run:
            price = client.jobs.price(model, dataset, method, **asked)
            click.echo(json.dumps(asdict(price)) if as_json else _told_price(price.passes, price.seconds))
            return
        job = client.jobs.submit(model, dataset, method, request_id=request_id, **asked)
    click.echo(_json(job) if as_json else job.id)


@jobs.command("list")
@click.option("--state", "states", multiple=True, type=click.Choice([state.value for state in JobState]))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@service_options
def list_(states: tuple[str, ...], as_json: bool, **service: Any) -> None:
    """List jobs, the newest first."""
    with open_client(**service) as client:
        found = client.jobs.list(states)
    if as_json:
        click.echo(json.dumps([json.loads(_json(job)) for job in found]))
        return
    table = Table("state", "done", "certified", "failed", "model", "data set", box=None, pad_edge=False)
    table.add_column("job", no_wrap=True, min_width=32)
    for job in found:
        totals = job.totals
        table.add_row(
            job.state.value,
            f"{totals.done:,}/{totals.inputs:,}",
            f"{totals.certified:,}",
            f"{totals.failed:,}",
            job.model_digest[:12],
            job.dataset_digest[:12],
            job.id,
        )
    Console().print(table)


@jobs.command()
@click.argument("job")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@service_options
def show(job: str, as_json: bool, **service: Any) -> None:
    """Show one job."""
    with open_client(**service) as client:
        _print(client.jobs.get(job), as_json)


@jobs.command()
@click.argument("job")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, a line for each look.")
@service_options
def watch(job: str, as_json: bool, **service: Any) -> None:
    """Follow a job until it has ended. Without --server, this process works on it.

    Exit code 0: it succeeded; 4: it was cancelled or has failed.
    """
    last: JobProgress | None = None
    with open_client(**service) as client:
        for progress in client.jobs.watch(job):
            if as_json:
                facts = {name: value for name, value in vars(progress).items() if name != "job"}
                click.echo(json.dumps(facts | {"job": json.loads(_json(progress.job))}))
            elif last is None or _news(progress) != _news(last):
                click.echo(_told_progress(progress), err=True)
            last = progress
    if last is not None and not as_json:
        _print(last.job, as_json)
    sys.exit(0 if last is not None and last.job.state is JobState.SUCCEEDED else EXIT_FAILED)


@jobs.command()
@click.argument("job")
@click.option("--out", type=click.Path(path_type=Path, allow_dash=True), default="-", help="Default: standard output.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["jsonl", "cohen"]),
    default="jsonl",
    show_default=True,
    help="Certificates, one JSON a line; or the tab-separated log of the field, radii rounded down.",
)
@click.option(
    "--from", "from_position", type=int, default=0, show_default=True, help="First position in the job's order."
)
@service_options
def results(job: str, out: Path, format_: str, from_position: int, **service: Any) -> None:
    """Write the results that there are, in the job's order. Inputs that failed are told on standard error."""
    with open_client(**service) as client:
        lines = _lines(client.jobs.results(job, from_position), format_)
        with _open(out) as file:
            for line in lines:
                print(line, file=file)


@jobs.command()
@click.argument("job")
@service_options
def cancel(job: str, **service: Any) -> None:
    """End a job; its results stay."""
    _moved(lambda client: client.jobs.cancel(job), service)


@jobs.command()
@click.argument("job")
@service_options
def resume(job: str, **service: Any) -> None:
    """Queue a paused, cancelled or failed job again; it does what is missing."""
    _moved(lambda client: client.jobs.resume(job), service)


@jobs.command()
@click.argument("job")
@service_options
def delete(job: str, **service: Any) -> None:
    """Forget a job that does not run, and its results."""
    with open_client(**service) as client:
        client.jobs.delete(job)


def _selection(options: dict[str, Any]) -> Selection:
    """What the options choose; they are taken out."""
    start, stop, stride = (options.pop(name) for name in ("start", "stop", "stride"))
    sample, seed = options.pop("sample"), options.pop("sample_seed")
    if sample is not None and seed is None:
        from verifier.seeds import seed_or_fresh

        seed = seed_or_fresh(None).value
    return Selection(start, stop, stride, sample, seed)


def _moved(move: Callable[[Any], Job], service: dict[str, Any]) -> None:
    with open_client(**service) as client:
        click.echo(move(client).state.value)


def _lines(found: Iterator[JobResult], format_: str) -> Iterator[str]:
    """The lines of results; failed inputs go to standard error."""
    certificates = (result.certificate for result in _told_failures(found) if result.certificate is not None)
    if format_ == "cohen":
        from verifier.audit.cohen import to_cohen_lines

        return to_cohen_lines(certificates)
    return (certificate_to_json(certificate) for certificate in certificates)


def _told_failures(found: Iterator[JobResult]) -> Iterator[JobResult]:
    for result in found:
        if result.error:
            click.echo(f"input {result.index} failed: {result.error}", err=True)
        yield result


def _open(out: Path) -> AbstractContextManager[TextIO]:
    if str(out) == "-":
        return nullcontext(sys.stdout)
    if not out.absolute().parent.is_dir():
        raise InvalidProblem(f"cannot write {out}: there is no directory {out.absolute().parent}", field="out")
    return out.open("w", encoding="utf-8")


def _json(job: Job) -> str:
    return json.dumps(asdict(job) | {"spec": json.loads(job.spec)})


def _print(job: Job, as_json: bool) -> None:
    if as_json:
        click.echo(_json(job))
        return
    totals = job.totals
    click.echo(f"job {job.id}: {job.state.value}{f' ({job.reason})' if job.reason else ''}")
    click.echo(
        f"{totals.done:,} of {totals.inputs:,} inputs: {totals.certified:,} certified, {totals.abstained:,} abstained, "
        f"{totals.failed:,} failed; {totals.forward_passes:,} forward passes"
    )


def _told_progress(progress: JobProgress) -> str:
    totals = progress.job.totals
    line = f"{progress.job.state.value}: {totals.done:,}/{totals.inputs:,}, {totals.failed:,} failed"
    if progress.rate:
        line += f", {progress.rate:,.1f} inputs/s, {progress.seconds_left or 0:,.0f} s left"
    if progress.running_inputs:
        line += f", certified {progress.running_certified / progress.running_inputs:.3f}"
    if progress.running_lower is not None:
        line += f" (at least {progress.running_lower:.3f})"
    return line


def _news(progress: JobProgress) -> Any:
    return progress.job.state, progress.job.totals.done, progress.job.reason


def _told_price(passes: int, seconds: float | None) -> str:
    time = "" if seconds is None else f", about {seconds:.3g} s at the rate measured last"
    return f"about {passes:,} forward passes{time}"
