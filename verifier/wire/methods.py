"""Methods and their parameters to messages and back. Nonsense is refused by the constructors."""

from typing import Any

from verifier.errors import InvalidProblem
from verifier.methods import (
    AlphaCrown,
    BoundMethod,
    CertifyingMethod,
    Crown,
    CrownIbp,
    Ibp,
    Ladder,
    NoiseFamily,
    Precision,
    Rng,
    Rounding,
    Selection,
    Semantics,
    Smoothing,
    Stopping,
    Target,
)
from verifier.v1 import methods_pb2
from verifier.wire.enums import from_enum, to_enum

_BOUNDS: dict[str, tuple[type[BoundMethod], Any]] = {
    "ibp": (Ibp, methods_pb2.Ibp),
    "crown_ibp": (CrownIbp, methods_pb2.CrownIbp),
    "crown": (Crown, methods_pb2.Crown),
    "alpha_crown": (AlphaCrown, methods_pb2.AlphaCrown),
    "ladder": (Ladder, methods_pb2.Ladder),
}
"""Field of `Method` -> word and message."""

_NUMBERS = ("tolerance", "audit", "memory_bytes", "max_seconds")
_ASCENT = ("steps", "learning_rate")


def to_method(method: CertifyingMethod) -> methods_pb2.Method:
    """A method with its parameters as a message."""
    if isinstance(method, Smoothing):
        return methods_pb2.Method(smoothing=to_smoothing(method))
    name = method.name.replace("-", "_")
    options = methods_pb2.BoundOptions(
        semantics=to_enum(methods_pb2.Semantics, "SEMANTICS", method.semantics),
        rounding=to_enum(methods_pb2.Rounding, "ROUNDING", method.rounding),
        **{number: getattr(method, number) for number in _NUMBERS},
    )
    ascent = {number: getattr(method, number) for number in _ASCENT if hasattr(method, number)}
    return methods_pb2.Method(**{name: _BOUNDS[name][1](options=options, **ascent)})


def from_method(message: methods_pb2.Method, field: str) -> CertifyingMethod:
    """A method with its parameters from a message.

    Args:
        field: where the message is, for errors.
    """
    name = message.WhichOneof("method")
    if name is None:
        raise InvalidProblem(f"{field} must name a method; see ListMethods", field=field)
    if name == "smoothing":
        return from_smoothing(message.smoothing)
    word, _ = _BOUNDS[name]
    inner = getattr(message, name)
    options = inner.options
    given = {number: getattr(options, number) for number in _NUMBERS if options.HasField(number)}
    if issubclass(word, AlphaCrown):
        given |= {number: getattr(inner, number) for number in _ASCENT if inner.HasField(number)}
    return word(
        semantics=from_enum(
            methods_pb2.Semantics, "SEMANTICS", options.semantics, Semantics, "bounds.semantics", Semantics.REAL
        ),
        rounding=from_enum(
            methods_pb2.Rounding, "ROUNDING", options.rounding, Rounding, "bounds.rounding", Rounding.OUTWARD
        ),
        **given,
    )


def to_noise(family: NoiseFamily, sigma: float) -> methods_pb2.NoiseParameters:
    """Family and scale of the noise as a message."""
    return methods_pb2.NoiseParameters(**{family.value: methods_pb2.GaussianNoise(sigma=sigma)})


def from_noise(noise: methods_pb2.NoiseParameters) -> tuple[NoiseFamily, float]:
    """(family, sigma) from a message."""
    family = noise.WhichOneof("noise")
    if family is None:
        raise InvalidProblem("smoothing.noise must name a family, such as gaussian", field="smoothing.noise")
    return NoiseFamily(family), noise.gaussian.sigma


def from_rng(name: str) -> Rng | None:
    """The generator of this name; None where it is empty."""
    if not name:
        return None
    try:
        return Rng(name)
    except ValueError:
        names = ", ".join(rng.value for rng in Rng)
        raise InvalidProblem(f"rng must be one of {names}, got {name!r}", field="smoothing.rng") from None


def to_smoothing(method: Smoothing) -> methods_pb2.Smoothing:
    """Parameters of smoothing as a message."""
    return methods_pb2.Smoothing(
        noise=to_noise(method.noise, method.sigma),
        n0=method.n0,
        alpha=method.alpha,
        selection=to_enum(methods_pb2.Selection, "SELECTION", method.selection),
        runner_up=method.runner_up,
        precision=to_enum(methods_pb2.Precision, "PRECISION", method.precision),
        rng=method.rng.value if method.rng else "",
        target=to_enum(methods_pb2.Target, "TARGET", method.target),
        max_forward_passes=method.max_forward_passes,
        max_seconds=method.max_seconds,
        **_to_stopping(method),
    )


def _to_stopping(method: Smoothing) -> dict[str, Any]:
    """When the draws end, as a field of `Smoothing`: its name and its message."""
    n, futility = method.n, method.futility
    match method.stopping:
        case Stopping.DECIDE:
            return {"decide": methods_pb2.DecideStopping(radii=method.decide, max_n=n, futility=futility)}
        case Stopping.GRID:
            return {"grid": methods_pb2.GridStopping(step=method.grid, max_n=n, futility=futility)}
        case Stopping.ANYTIME:
            return {"anytime": methods_pb2.AnytimeStopping(max_n=n)}
        case Stopping.FIXED:
            return {"fixed": methods_pb2.FixedStopping(n=n)}


def _from_stopping(message: methods_pb2.Smoothing) -> dict[str, Any]:
    """When the draws end, as arguments of `Smoothing`; absent numbers take its defaults."""
    kind = message.WhichOneof("stopping")
    if kind in ("fixed", None):
        return {"n": message.fixed.n}
    stopping = getattr(message, kind)
    arguments: dict[str, Any] = {"n": stopping.max_n} if stopping.HasField("max_n") else {}
    if kind == "anytime":
        return arguments | {"anytime": True}
    if stopping.HasField("futility"):
        arguments["futility"] = stopping.futility
    if kind == "grid":
        return arguments | {"grid": stopping.step}
    if not stopping.radii:
        raise InvalidProblem("decide needs at least one radius", field="smoothing.decide")
    return arguments | {"decide": tuple(stopping.radii)}


def from_smoothing(message: methods_pb2.Smoothing) -> Smoothing:
    """Parameters of smoothing from a message."""
    family, sigma = from_noise(message.noise)
    return Smoothing(
        sigma=sigma,
        n0=message.n0,
        alpha=message.alpha,
        selection=from_enum(
            methods_pb2.Selection, "SELECTION", message.selection, Selection, "smoothing.selection", Selection.N0
        ),
        runner_up=message.runner_up,
        precision=from_precision(message.precision),
        rng=from_rng(message.rng),
        noise=family,
        target=from_enum(methods_pb2.Target, "TARGET", message.target, Target, "smoothing.target", Target.TOP),
        max_forward_passes=message.max_forward_passes if message.HasField("max_forward_passes") else None,
        max_seconds=message.max_seconds if message.HasField("max_seconds") else None,
        **_from_stopping(message),
    )


def from_precision(number: int, field: str = "smoothing.precision") -> Precision:
    """The arithmetic of this number; 0 is float32."""
    return from_enum(methods_pb2.Precision, "PRECISION", number, Precision, field, Precision.FLOAT32)
