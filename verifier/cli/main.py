"""The command line: `verifier COMMAND --help` tells each one's options."""

import logging
import os
import sys
from typing import Any

import click

from verifier.cli.audit import audit
from verifier.cli.certify import certify, predict
from verifier.cli.check import check, plot
from verifier.cli.datasets import datasets
from verifier.cli.db import db
from verifier.cli.gate import attest, gate
from verifier.cli.jobs import jobs
from verifier.cli.models import methods, models
from verifier.cli.serve import serve
from verifier.cli.vnnlib import vnnlib
from verifier.errors import AlreadyExists, InvalidProblem, NotFound, Unsupported, VerifierError
from verifier.version import __version__

EXIT_DOES_NOT_HOLD = 1
EXIT_USAGE = 2
EXIT_FAILED = 4

_USAGE = (InvalidProblem, Unsupported, NotFound, AlreadyExists)


class _Group(click.Group):
    """Tells errors as one line, with an exit code; never a traceback."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except VerifierError as error:
            click.echo(f"error: {error.message}", err=True)
            sys.exit(EXIT_USAGE if isinstance(error, _USAGE) else EXIT_FAILED)
        except BrokenPipeError:  # whoever read our output has gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(EXIT_FAILED)
        except OSError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(EXIT_FAILED)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            logging.getLogger(__name__).info("unexpected failure", exc_info=error)
            click.echo(
                f"error: unexpected failure ({type(error).__name__}: {error}); verifier --verbose shows all of it: "
                "please report that",
                err=True,
            )
            sys.exit(EXIT_FAILED)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            sys.exit(130)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="verifier")
@click.option("--verbose", "-v", is_flag=True, help="Log what happens to standard error.")
def main(verbose: bool) -> None:
    """Certified robustness for neural classifiers.

    Exit codes: 0 done, 1 a certificate does not hold, 2 the request is wrong, 3 inconclusive,
    4 the work failed (server away, overloaded, deadline), 130 interrupted.
    """
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)


_COMMANDS = (
    *(serve, models, methods, certify, predict, check, plot, vnnlib),
    *(datasets, jobs, gate, attest, audit, db),
)

for command in _COMMANDS:
    main.add_command(command)
