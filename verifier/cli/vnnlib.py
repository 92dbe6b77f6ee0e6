"""`verifier vnnlib`: decide a property in the competition's format."""

import json
from pathlib import Path

import click

from verifier.errors import InvalidProblem, Unsupported
from verifier.methods import BOUND_METHODS, AlphaCrown, Ladder

_METHODS = {kind.name: kind for kind in BOUND_METHODS}


@click.command()
@click.argument("network", type=click.Path(path_type=Path))
@click.argument("specification", type=click.Path(path_type=Path))
@click.option(
    "--method",
    default=Ladder.name,
    show_default=True,
    type=click.Choice(list(_METHODS)),
    help="Bounds to use; the ladder climbs no further than it must.",
)
@click.option("--steps", type=int, default=AlphaCrown.steps, show_default=True, help="alpha-crown, ladder: of Adam.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds; default: as long as it takes.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the result to this file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the competition's format.")
def vnnlib(
    network: Path,
    specification: Path,
    method: str,
    steps: int,
    timeout: float | None,
    device: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Decide whether NETWORK (.onnx) has a counterexample to the property SPECIFICATION (.vnnlib, .vnnlib.gz).

    Answers unsat (there is none: the property holds, proved over the reals), sat with a counterexample, unknown, or
    timeout.
    """
    kind = _METHODS[method]
    chosen = kind(steps=steps) if issubclass(kind, AlphaCrown) else kind()
    try:
        from verifier.decision import decide_files
    except ModuleNotFoundError as error:
        raise Unsupported(
            f"deciding properties needs {error.name}, which is not installed: pip install 'verifier[server]'"
        ) from None
    result, facts = decide_files(_content(network), specification, chosen, timeout, device)
    text = json.dumps(facts) + "\n" if as_json else result
    if out is not None:
        out.write_text(text, encoding="utf-8")
    click.echo(text, nl=False)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidProblem(f"cannot read {path}: {error.strerror}", field="network") from None
