"""Method class -> backend: the only list of them."""

from verifier.backends.base import Backend
from verifier.backends.bounds import BoundsBackend
from verifier.backends.smoothing import SmoothingBackend
from verifier.methods import BOUND_METHODS, Method, Prediction, Smoothing

_SMOOTHING = SmoothingBackend()

BACKENDS: dict[type[Method], Backend] = {
    Smoothing: _SMOOTHING,
    Prediction: _SMOOTHING,
    **{kind: BoundsBackend(kind) for kind in BOUND_METHODS},
}


def backend_of(method: Method) -> Backend:
    """The backend that treats this method."""
    return BACKENDS[type(method)]


def distinct_backends() -> list[Backend]:
    """Every backend once."""
    return list(dict.fromkeys(BACKENDS.values()))
