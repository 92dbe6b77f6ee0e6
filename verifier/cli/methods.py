"""The options of the certification methods: one list, from which a method and what is asked are made."""

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import numpy as np
from click.core import ParameterSource
from numpy.typing import NDArray

from verifier.cli.options import Command, load_array
from verifier.client.asked import Regions
from verifier.errors import InvalidProblem
from verifier.methods import (
    BOUND_METHODS,
    CertifyingMethod,
    Ladder,
    Precision,
    Rng,
    Rounding,
    Selection,
    Semantics,
    Smoothing,
    Stopping,
    Target,
)

_KINDS: tuple[type[CertifyingMethod], ...] = (Smoothing, *BOUND_METHODS)

METHODS = {kind.name: kind for kind in _KINDS}

RNG = click.Choice([rng.value for rng in Rng])
PRECISION = click.Choice([precision.value for precision in Precision if precision is not Precision.REAL])

_SIZES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class _Size(click.ParamType[int]):
    """Bytes: 1500000, 512M, 2G."""

    name = "size"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> int:
        match = re.fullmatch(r"(\d+)([KMGT]?)(?:i?B)?", str(value), re.IGNORECASE)
        if match is None:
            self.fail(f"{value!r} is no size: give bytes, or 512M, 2G", parameter, context)
        return int(match[1]) * _SIZES[match[2].upper()]


class _Radii(click.ParamType["tuple[float, ...]"]):
    """Numbers with commas between them."""

    name = "radii"

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> tuple[float, ...]:
        try:
            return tuple(float(radius) for radius in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} are no radii: give numbers, as in 0.25,0.5", parameter, context)


class _End(click.ParamType["NDArray[Any] | float"]):
    """A number, or the path of an .npy file."""

    name = "number or .npy"

    def convert(
        self, value: Any, _parameter: click.Parameter | None, _context: click.Context | None
    ) -> NDArray[Any] | float:
        try:
            return float(value)
        except ValueError:
            pass
        try:
            return load_array(Path(value), "bounds")
        except InvalidProblem as error:
            raise InvalidProblem(f"--bounds takes numbers or .npy files: {error.message}", field="bounds") from None


def _file(help_text: str, *names: str) -> Callable[[Command], Command]:
    return click.option(*names, type=click.Path(path_type=Path), help=help_text)


_SMOOTHING = (
    click.option("--sigma", type=float, help="Smoothing: standard deviation of the noise, in the input's units."),
    click.option("--n0", type=int, default=100, show_default=True, help="Smoothing: draws for selecting the class."),
    click.option(
        "--n", type=int, help="Smoothing: draws for the bound [default: 10000; the most, 100000, where they end early]."
    ),
    click.option("--alpha", type=float, default=0.001, show_default=True, help="Smoothing: failure probability."),
    click.option(
        "--selection",
        default="n0",
        show_default=True,
        type=click.Choice([s.value for s in Selection]),
        help="Smoothing: by draws of its own, or by those for the bound.",
    ),
    click.option("--runner-up", is_flag=True, help="Smoothing: bound the runner-up too: often larger radii."),
    click.option(
        "--precision",
        default="float32",
        show_default=True,
        type=PRECISION,
        help="Smoothing: arithmetic of the forward pass.",
    ),
    click.option("--rng", type=RNG, help="Smoothing: generator of the noise; default: the device's."),
    click.option("--decide", type=_Radii(), help="Smoothing: radii to decide, 0.25,0.5,1: as few draws as that takes."),
    click.option("--grid", type=float, help="Smoothing: find the largest multiple of this step, likewise."),
    click.option("--anytime", is_flag=True, help="Smoothing: a radius that grows with the draws, until a budget ends."),
    click.option(
        "--target",
        default="top",
        show_default=True,
        type=click.Choice([target.value for target in Target]),
        help="Smoothing: certify the likeliest class, or the label: that needs no selection.",
    ),
    click.option(
        "--futility",
        type=float,
        default=0.05,
        show_default=True,
        help="Smoothing: risk of giving up a radius that holds, with --decide and --grid.",
    ),
    click.option(
        "--max-forward-passes", type=int, help="Smoothing: of one input; then the best that is proved is answered."
    ),
)
_BUDGET = (click.option("--max-seconds", type=float, help="Answer the best that is proved after so long."),)
_BOUNDS = (
    click.option(
        "--semantics",
        default="real",
        show_default=True,
        type=click.Choice([s.value for s in Semantics]),
        help="Bounds: of the network over the reals, or of its float32 executions too.",
    ),
    click.option(
        "--rounding",
        default="outward",
        show_default=True,
        type=click.Choice([r.value for r in Rounding]),
        help="Bounds: outward is proved; nearest is for comparison.",
    ),
    click.option(
        "--tolerance",
        type=float,
        default=1e-4,
        show_default=True,
        help="Bounds: relative, at which the search for the radius ends.",
    ),
    click.option("--audit", type=int, default=16, show_default=True, help="Bounds: points tried in each region."),
    click.option(
        "--memory",
        "memory_bytes",
        type=_Size(),
        default="1G",
        show_default=True,
        help="Bounds: of temporary tensors, in bytes or as 512M, 2G.",
    ),
    click.option(
        "--steps", type=int, default=20, show_default=True, help="alpha-crown, ladder: of Adam, for each evaluation."
    ),
    click.option("--learning-rate", type=float, default=0.25, show_default=True, help="alpha-crown, ladder: of Adam."),
)
_REGION = (
    click.option(
        "--bounds",
        nargs=2,
        type=_End(),
        metavar="LO HI",
        help="Valid inputs, with which balls are cut: two numbers or, by feature, two .npy files [...].",
    ),
    _file("Budget of each feature, .npy [...]: |x' - x| <= radius * weights. Norm linf.", "--weights"),
    _file("Lower ends of boxes instead of --inputs, .npy [B, ...], also of a single one.", "--lower"),
    _file("Upper ends of the boxes, .npy [B, ...].", "--upper"),
)


method_option = click.option(
    "--method",
    default=Smoothing.name,
    show_default=True,
    type=click.Choice(list(METHODS)),
    help="All but smoothing bound the network itself; ladder tries them all.",
)
"""--method, for `chosen_method`."""


def parameter_options(command: Command) -> Command:
    """The parameters of all methods, for `chosen_method`."""
    for option in reversed((*_SMOOTHING, *_BOUNDS, *_BUDGET)):
        command = option(command)
    return command


def region_options(command: Command) -> Command:
    """--bounds, --weights, --lower, --upper, for `region_of`."""
    for option in reversed(_REGION):
        command = option(command)
    return command


def chosen_method(options: dict[str, Any]) -> CertifyingMethod:
    """The method that the options ask for; they are taken out.

    Raises:
        InvalidProblem: an option of another method was given, or one is missing.
    """
    context = click.get_current_context()
    kind = METHODS[options.pop("method")]
    everything = {field.name for other in METHODS.values() for field in fields(other)} & set(options)
    given = {name: options.pop(name) for name in everything}
    own = {field.name for field in fields(kind)}
    for name in sorted(everything - own):
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise InvalidProblem(_foreign(name, kind.name), field=name)
    if kind is Smoothing and given["sigma"] is None:
        raise InvalidProblem(
            "smoothing needs --sigma, the standard deviation of the noise; for the network itself ask for "
            f"--method {Ladder.name}, or another that `verifier methods` lists",
            field="smoothing.sigma",
        )
    if given.get("decide") is None:
        given["decide"] = ()
    return kind(**{name: value for name, value in given.items() if name in own})


def _foreign(name: str, method: str) -> str:
    owners = [kind.name for kind in METHODS.values() if name in {field.name for field in fields(kind)}]
    option = "--memory" if name == "memory_bytes" else f"--{name.replace('_', '-')}"
    return f"{option} belongs to {', '.join(owners)}, not to {method}: leave it out, or choose another --method"


def region_of(options: dict[str, Any]) -> Regions:
    """What the region options say, files read; they are taken out."""
    bounds = options.pop("bounds")
    files = {name: options.pop(name) for name in ("weights", "lower", "upper")}
    arrays = {name: load_array(path, name) for name, path in files.items() if path is not None}
    return Regions(None if bounds is None else (np.asarray(bounds[0]), np.asarray(bounds[1])), **arrays)


def expected_passes(method: CertifyingMethod) -> int | None:
    """Forward passes per input, where they are known before."""
    return method.draws if isinstance(method, Smoothing) and method.stopping is Stopping.FIXED else None
