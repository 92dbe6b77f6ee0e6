"""`verifier serve`."""

import logging
from pathlib import Path
from typing import Any

import click

from verifier.errors import Unsupported
from verifier.settings import Settings, default_data_dir
from verifier.version import __version__


@click.command()
@click.option("--listen", metavar="HOST:PORT", help="Default 127.0.0.1:50051; port 0 takes a free one.")
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), help="Where models are kept.")
@click.option("--device", help="auto (default), cpu or cuda:N.")
@click.option("--form", help="Executed form of models: torchscript, eager or inductor (torch.compile).")
@click.option("--max-pending-passes", type=int, help="Forward passes admitted at once; default 1e9.")
@click.option("--max-dataset-bytes", type=int, help="Of an uploaded data set; default 256 GiB.")
@click.option(
    "--database-url",
    metavar="URL",
    help="PostgreSQL instead of a file; better in $VERIFIER_DATABASE_URL, which hides it.",
)
@click.option("--run-jobs/--no-run-jobs", default=None, help="Whether this server works on jobs; default: it does.")
@click.option("--lease-seconds", type=float, help="Until another server takes a dead one's job; default 30.")
@click.option(
    "--repeated-attempts",
    type=click.Choice(["count", "refuse"]),
    help="Further attempts on an input: count them into alpha (default), or refuse them.",
)
@click.option("--tls-cert", type=click.Path(path_type=Path), help="PEM file of the server's certificate.")
@click.option("--tls-key", type=click.Path(path_type=Path), help="PEM file of its key.")
@click.option("--tls-client-ca", type=click.Path(path_type=Path), help="PEM file; clients must show a certificate.")
@click.option("--channelz", is_flag=True, default=None, help="Offer gRPC's channelz service.")
@click.option("--config", type=click.Path(path_type=Path, exists=True), help="TOML file with the same settings.")
def serve(config: Path | None, **chosen: Any) -> None:
    """Serve certification over gRPC until interrupted.

    Every option can also come from a VERIFIER_* variable (VERIFIER_DATA_DIR, ...) or from --config.
    """
    settings = Settings.read(config, **chosen)
    try:
        from verifier.server.main import serve as run
    except ModuleNotFoundError as error:
        raise Unsupported(f"the server needs {error.name}: pip install 'verifier[server]'") from None
    logging.getLogger("verifier").setLevel(logging.INFO)

    def ready(address: str) -> None:
        data_dir = settings.data_dir or default_data_dir()
        click.echo(f"verifier {__version__} serving on {address}, models in {data_dir}")

    run(settings, ready)
