"""Options that several commands share, and what they mean."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import click
import numpy as np
from numpy.typing import NDArray

from verifier.client.client import Client, connect, local
from verifier.errors import InvalidProblem

Command = Callable[..., Any]


def service_options(command: Command) -> Command:
    """--server, --ca, --cert, --key, --data-dir, --device: which service a command asks, for `open_client`."""
    for option in (
        click.option("--device", default="auto", show_default=True, help="Embedded: auto, cpu or cuda:N."),
        click.option(
            "--data-dir",
            type=click.Path(path_type=Path, file_okay=False),
            help="Embedded: where models are kept; default $VERIFIER_DATA_DIR or the user's data directory.",
        ),
        click.option("--key", type=click.Path(path_type=Path, exists=True), help="PEM file of that certificate's key."),
        click.option("--cert", type=click.Path(path_type=Path, exists=True), help="PEM file; who we are, for mTLS."),
        click.option("--ca", type=click.Path(path_type=Path, exists=True), help="PEM file; connect with TLS."),
        click.option("--server", metavar="HOST:PORT", help="Ask this server; without it, work in this process."),
    ):
        command = option(command)
    return command


def open_client(
    server: str | None, ca: Path | None, cert: Path | None, key: Path | None, data_dir: Path | None, device: str
) -> Client:
    """The client that the options ask for."""
    if server:
        return connect(server, ca=ca, certificate=cert, key=key)
    return local(data_dir=data_dir, device=device)


def split_service(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(options of `open_client`, all others), where a command takes both."""
    names = ("server", "ca", "cert", "key", "data_dir", "device")
    return {name: options[name] for name in names}, {k: v for k, v in options.items() if k not in names}


def load_array(path: Path, name: str) -> NDArray[Any]:
    """An array from an .npy file; nothing in it is ever executed.

    Raises:
        InvalidProblem: no such file, or not an .npy of plain numbers.
    """
    try:
        with path.open("rb") as stream:
            array: NDArray[Any] = np.load(stream, allow_pickle=False)
    except FileNotFoundError:
        raise InvalidProblem(f"there is no file {path}", field=name) from None
    except (ValueError, OSError, EOFError, BadZipFile, MemoryError) as error:
        raise InvalidProblem(f"{path} is not an .npy file of plain numbers: {error}", field=name) from None
    if not isinstance(array, np.ndarray):
        array.close()
        raise InvalidProblem(f"{path} holds several arrays; save one of them with numpy.save", field=name)
    return array
