"""`verifier models` and `verifier methods`."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from verifier.catalogue import MethodInfo
from verifier.cli.options import open_client, service_options
from verifier.errors import InvalidProblem
from verifier.model import ModelInfo

DIGEST_SHOWN = 16


@click.group()
def models() -> None:
    """Register, list and remove models."""


@models.command()
@click.argument("name")
@click.option("--onnx", type=click.Path(path_type=Path), help="A single-file ONNX model.")
@click.option("--weights", type=click.Path(path_type=Path), help="A safetensors file, with --architecture.")
@click.option("--architecture", help="Installed architecture that the weights belong to: mlp, cnn, resnet20, ...")
@click.option("--architecture-config", metavar="JSON", help="Its configuration, such as '{\"classes\": 10}'.")
@click.option(
    "--normalize",
    metavar="MEAN,STD",
    help="(x - mean) / std inside the model; one value a channel with ':', as in 0.49:0.48:0.45,0.2:0.2:0.2",
)
@click.option("--input-range", metavar="LOW,HIGH", help="Valid values of an input, such as 0,1; others are refused.")
@click.option("--move-alias", is_flag=True, help="Take the name from another version.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@service_options
def add(
    name: str,
    onnx: Path | None,
    weights: Path | None,
    architecture: str | None,
    architecture_config: str | None,
    normalize: str | None,
    input_range: str | None,
    move_alias: bool,
    as_json: bool,
    **service: Any,
) -> None:
    """Register a model file under NAME."""
    with open_client(**service) as client:
        info = client.models.add(
            name,
            onnx=onnx,
            weights=weights,
            architecture=architecture,
            config=_config(architecture_config),
            normalize=_pair(normalize, "--normalize", ":"),
            input_range=_numbers(input_range, "--input-range"),
            move_alias=move_alias,
        )
    _show(info, as_json)


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
@service_options
def list_models(as_json: bool, **service: Any) -> None:
    """List the registered models."""
    with open_client(**service) as client:
        infos = client.models.list()
    if as_json:
        for info in infos:
            click.echo(json.dumps(info.to_dict()))
        return
    table = Table("name", "version", "input", "classes", "registered", box=None, pad_edge=False)
    for info in infos:
        shape = "x".join(map(str, info.manifest.input_shape))
        registered = datetime.fromtimestamp(info.created, UTC).strftime("%Y-%m-%d %H:%M")
        table.add_row(
            ", ".join(info.aliases), info.digest[:DIGEST_SHOWN], shape, str(info.manifest.classes), registered
        )
    Console().print(table if infos else "no models; register one with: verifier models add NAME --onnx FILE")


@models.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@service_options
def show(name: str, as_json: bool, **service: Any) -> None:
    """Show one model by name, digest, or digest prefix."""
    with open_client(**service) as client:
        info = client.models.get(name)
    _show(info, as_json)


@models.command()
@click.argument("name")
@service_options
def remove(name: str, **service: Any) -> None:
    """Remove a name, and its version with the last name; or, by digest, a version."""
    with open_client(**service) as client:
        client.models.remove(name)
    click.echo(f"removed {name}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
@service_options
def methods(as_json: bool, **service: Any) -> None:
    """Tell what can be certified: methods, norms, guarantees, parameters."""
    with open_client(**service) as client:
        infos = client.methods()
    if as_json:
        for info in infos:
            click.echo(json.dumps(_method_facts(info)))
        return
    families: dict[Any, list[MethodInfo]] = {}
    for info in infos:
        families.setdefault((info.norms, info.grade, info.guarantee), []).append(info)
    for number, family in enumerate(families.values()):
        if number:
            click.echo()
        _print_family(family)


def _print_family(family: Sequence[MethodInfo]) -> None:
    """Methods of the same norms and guarantee; a parameter that not all of them have says whose it is."""
    console = Console(markup=False, highlight=False)
    for info in family:
        console.print(f"{info.name}: {info.summary}", style="bold")
    first = family[0]
    console.print(f"norms: {', '.join(first.norms)}")
    console.print(f"guarantee, {first.grade.value}: {first.guarantee}")
    table = Table("parameter", "meaning", box=None, pad_edge=False)
    for name, meaning in {name: meaning for info in family for name, meaning in info.parameters.items()}.items():
        owners = [info.name for info in family if name in info.parameters]
        table.add_row(name, meaning if len(owners) == len(family) else f"{meaning} ({', '.join(owners)})")
    console.print(table)


def _method_facts(info: MethodInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "summary": info.summary,
        "norms": [norm.value for norm in info.norms],
        "grade": info.grade.value,
        "guarantee": info.guarantee,
        "parameters": info.parameters,
    }


def _show(info: ModelInfo, as_json: bool) -> None:
    facts = info.to_dict()
    if as_json:
        click.echo(json.dumps(facts))
        return
    manifest = facts.pop("manifest")
    facts["created"] = datetime.fromtimestamp(info.created, UTC).isoformat(timespec="seconds")
    facts["aliases"] = ", ".join(info.aliases)
    for key, value in {**facts, **manifest}.items():
        if value is not None and value != {}:
            click.echo(f"{key:22}{json.dumps(value) if isinstance(value, dict) else value}")


def _config(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidProblem(f"--architecture-config must be JSON: {error}", field="config") from None
    if not isinstance(config, dict):
        raise InvalidProblem("--architecture-config must be a JSON object", field="config")
    return config


def _numbers(text: str | None, option: str) -> tuple[float, float] | None:
    pair = _pair(text, option, None)
    return None if pair is None else (pair[0][0], pair[1][0])


def _pair(text: str | None, option: str, separator: str | None) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Two comma-separated numbers, or lists of numbers with another separator inside."""
    if text is None:
        return None
    halves = text.split(",")
    try:
        first, second = (tuple(float(part) for part in half.split(separator or ",")) for half in halves)
    except ValueError:
        raise InvalidProblem(f"{option} takes two numbers as in 0,1, got {text!r}", field=option) from None
    return first, second
