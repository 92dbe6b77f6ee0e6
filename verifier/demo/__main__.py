"""The demo: a server, a trained network, real digits, certified radii, a picture. `make demo`."""

import contextlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from rich.console import Console

import verifier
from verifier.check import check_all
from verifier.cli.progress import reporter
from verifier.client.client import Client
from verifier.demo.digits import Images, Labels, network, test_images
from verifier.model import ModelFormat
from verifier.plot import plot
from verifier.report import summarise
from verifier.tables import certificates_table, render
from verifier.wire.certificates import certificate_to_json

SIGMA = 0.5
INPUTS = 100
DRAWS = 10_000
ROWS_SHOWN = 10
ASKED = 0.5
PROVED = 20
NETWORKS = {"digits_gauss050": "trained with Gaussian noise", "digits_std": "trained the usual way"}


@click.command()
@click.option("--out", default="demo-out", show_default=True, type=click.Path(path_type=Path))
def main(out: Path) -> None:
    """Certify scikit-learn's digits over gRPC, and draw the curves."""
    out.mkdir(parents=True, exist_ok=True)
    console = Console()
    x, labels = test_images()
    x, labels = x[:INPUTS], labels[:INPUTS]
    answers: dict[str, list[verifier.Certificate]] = {}
    with _server(out / "server.log") as address, verifier.connect(address) as client:
        console.print(f"a server listens on {address}", highlight=False)
        for name, training in NETWORKS.items():
            model = client.models.add(name, onnx=network(name, ModelFormat.ONNX), input_range=(0.0, 1.0))
            console.print(f"\n[bold]{name}[/bold], {training}: version {model.digest[:16]}", highlight=False)
            answers[training] = _certify(client, model, x, labels)
            _write(out / f"{name}.jsonl", answers[training])
            if name == "digits_gauss050":
                console.print(certificates_table(answers[training], ROWS_SHOWN))
            console.print(render(summarise(answers[training])))
        decided = _decide(console, client, x, labels)
        proved = _prove(console, client, x, labels)
    _write(out / "decided.jsonl", decided)
    _write(out / "bounds.jsonl", proved)
    _check(console, [*answers.values(), decided, proved])
    plot(answers, out / "curve.png")
    console.print(f"\ncertificates and the picture are in {out}/: curve.png", highlight=False)


def _certify(client: Client, model: verifier.ModelInfo, x: Images, labels: Labels) -> list[verifier.Certificate]:
    method = verifier.Smoothing(sigma=SIGMA, n0=100, n=DRAWS, alpha=1e-3)
    with reporter(INPUTS, INPUTS * method.draws, quiet=False) as report:
        certificates = client.certify(model, x, method, labels=labels, seed=7, on_progress=report)
        return sorted(certificates, key=lambda certificate: certificate.index)


def _decide(console: Console, client: Client, x: Images, labels: Labels) -> list[verifier.Certificate]:
    """The question that is mostly asked: is it certified at this radius? With as few draws as that takes."""
    name = "digits_gauss050"
    console.print(f"\n[bold]{name}[/bold], asked only whether it is certified at {ASKED}", highlight=False)
    method = verifier.Smoothing(sigma=SIGMA, decide=[ASKED], target="label")  # type: ignore[arg-type]
    certificates = client.certify(name, x, method, labels=labels, seed=8)
    decided = sorted(certificates, key=lambda certificate: certificate.index)
    console.print(certificates_table(decided, ROWS_SHOWN))
    draws = sum(certificate.sampling.estimation.n for certificate in decided)
    certified = sum(certificate.certified for certificate in decided)
    console.print(
        f"{certified} of {INPUTS} certified with {draws / INPUTS:,.0f} draws an input on average, at the same alpha",
        highlight=False,
    )
    return decided


def _prove(console: Console, client: Client, x: Images, labels: Labels) -> list[verifier.Certificate]:
    """Some digits again, by bounds on the network itself: no noise, no probability."""
    name = "digits_gauss050"
    console.print(f"\n[bold]{name}[/bold] itself, not smoothed: Linf balls within [0, 1], by the ladder of bounds")
    method = verifier.Ladder()
    with reporter(PROVED, None, quiet=False) as report:
        certificates = client.certify(
            name, x[:PROVED], method, labels=labels[:PROVED], domain=(0.0, 1.0), seed=7, on_progress=report
        )
        proved = sorted(certificates, key=lambda certificate: certificate.index)
    console.print(certificates_table(proved, ROWS_SHOWN))
    console.print(render(summarise(proved)))
    return proved


def _write(path: Path, certificates: list[verifier.Certificate]) -> None:
    path.write_text("".join(certificate_to_json(certificate) + "\n" for certificate in certificates))


def _check(console: Console, answers: Sequence[list[verifier.Certificate]]) -> None:
    """What anybody can do with the certificates alone."""
    for certificates in answers:
        report = check_all(certificates)
        if not report.holds:
            sys.exit(f"{len(report.failures)} certificates do not hold: this must not happen")
    total = sum(map(len, answers))
    console.print(f"\nchecked offline: all {total} certificates follow from their evidence", highlight=False)


@contextlib.contextmanager
def _server(log: Path) -> Iterator[str]:
    """`verifier serve` on a free port, with a data directory of its own; yields its address."""
    with tempfile.TemporaryDirectory(prefix="verifier-demo-") as data_dir, log.open("w") as messages:
        command = [sys.executable, "-m", "verifier", "serve", "--listen", "127.0.0.1:0", "--data-dir", data_dir]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=messages, text=True)  # noqa: S603 - our own program
        try:
            assert server.stdout is not None, "it was asked for"
            line = server.stdout.readline()
            match = re.search(r"serving on (\S+),", line)
            if match is None:
                sys.exit(f"the server did not start; its messages are in {log}")
            yield match[1]
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
