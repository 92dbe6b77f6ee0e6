"""`verifier datasets`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from verifier.cli.options import open_client, service_options, split_service
from verifier.dataset import DatasetInfo


@click.group()
def datasets() -> None:
    """Store, list and remove data sets."""


@datasets.command()
@click.argument("name")
@click.option(
    "--inputs",
    required=True,
    type=click.Path(path_type=Path),
    help=".npy, .npz, idx, idx.gz, Parquet, or a folder of PNG and JPEG files.",
)
@click.option("--labels", type=click.Path(path_type=Path), help="Likewise; with a folder a CSV of file,label.")
@click.option("--no-scale", "scale", is_flag=True, default=True, flag_value=False, help="Do not divide bytes by 255.")
@click.option("--shape", metavar="1,28,28", help="Of one input, where the file does not say it.")
@click.option("--channels-last", is_flag=True, help="The file has [height, width, channels].")
@click.option("--inputs-name", "inputs_names", multiple=True, help="Of the array or column with the inputs.")
@click.option("--labels-name", help="Of the array or column with the labels.")
@click.option("--move-name", is_flag=True, help="Take the name from another data set.")
@service_options
def add(name: str, inputs: Path, labels: Path | None, shape: str | None, move_name: bool, **options: Any) -> None:
    """Store a data set under a name; the same content again is the same data set."""
    service, reading = split_service(options)
    if shape is not None:
        reading["shape"] = _shape(shape)
    with open_client(**service) as client:
        info = client.datasets.add(name, inputs, labels, move_name=move_name, **reading)
    click.echo(f"{name}: {_told(info)}")
    if info.faults:
        click.echo(f"note: {info.faults} inputs cannot be used; jobs will say why of each", err=True)


@datasets.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@service_options
def list_(as_json: bool, **service: Any) -> None:
    """List the data sets there are."""
    with open_client(**service) as client:
        found = client.datasets.list()
    if as_json:
        click.echo(json.dumps([asdict(info) for info in found]))
        return
    table = Table("name", "digest", "inputs", "shape", "labels", "faults", box=None, pad_edge=False)
    for info in found:
        labels = f"{info.classes} classes" if info.labelled else "none"
        table.add_row(
            ", ".join(info.names), info.digest[:16], f"{info.size:,}", str(list(info.shape)), labels, str(info.faults)
        )
    Console().print(table)


@datasets.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@service_options
def show(name: str, as_json: bool, **service: Any) -> None:
    """Show one data set, by name, digest or digest prefix."""
    with open_client(**service) as client:
        info = client.datasets.get(name)
    click.echo(json.dumps(asdict(info)) if as_json else f"{', '.join(info.names)}: {_told(info)}, digest {info.digest}")


@datasets.command()
@click.argument("name")
@service_options
def remove(name: str, **service: Any) -> None:
    """Remove a name, and its data set with the last one; or, by digest, a data set."""
    with open_client(**service) as client:
        client.datasets.remove(name)


def _told(info: DatasetInfo) -> str:
    labels = f"{info.classes} classes" if info.labelled else "no labels"
    return f"{info.size:,} inputs of shape {list(info.shape)}, {labels}, data set {info.digest[:16]}"


def _shape(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in text.split(","))
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no shape: give whole numbers, as in 1,28,28", param_hint="--shape"
        ) from None
