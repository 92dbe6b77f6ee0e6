"""Method class -> backend: the only list of them."""

from verifier.backends.base import Backend
from verifier.backends.smoothing import SmoothingBackend
from verifier.methods import Method, Prediction, Smoothing

_SMOOTHING = SmoothingBackend()

BACKENDS: dict[type[Method], Backend] = {
    Smoothing: _SMOOTHING,
    Prediction: _SMOOTHING,
}


def backend_of(method: Method) -> Backend:
    """The backend that treats this method."""
    return BACKENDS[type(method)]


def distinct_backends() -> list[Backend]:
    """Every backend once."""
    return list(dict.fromkeys(BACKENDS.values()))
