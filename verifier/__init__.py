"""Certified robustness for neural classifiers: a radius with the evidence to check it.

>>> import verifier
>>> with verifier.connect("localhost:50051") as v:            # or verifier.local()
...     model = v.models.add("digits", onnx="digits.onnx")
...     for c in v.certify(model, x, verifier.Smoothing(sigma=0.25), labels=y):
...         print(c.index, c.verdict, c.prediction, c.radius)
"""

from verifier.catalogue import MethodInfo, Price, Progress
from verifier.certificate import Certificate, Grade, NoiseModel, RadiusVerdict, SmoothedPrediction, Verdict
from verifier.client.aio import AsyncClient
from verifier.client.client import Client, connect, connect_async, local, local_async
from verifier.errors import (
    AlreadyExists,
    Conflict,
    DeadlineExceeded,
    InternalError,
    InvalidProblem,
    NotFound,
    Overloaded,
    Unsound,
    Unsupported,
    VerifierError,
    WorkerLost,
)
from verifier.methods import (
    AlphaCrown,
    Crown,
    CrownIbp,
    Ibp,
    Ladder,
    Precision,
    Prediction,
    Rng,
    Rounding,
    Selection,
    Semantics,
    Smoothing,
    Stopping,
    Target,
)
from verifier.model import ModelInfo
from verifier.problem import Norm, Problem
from verifier.version import __version__

__all__ = [
    "AlphaCrown",
    "AlreadyExists",
    "AsyncClient",
    "Certificate",
    "Client",
    "Conflict",
    "Crown",
    "CrownIbp",
    "DeadlineExceeded",
    "Grade",
    "Ibp",
    "InternalError",
    "InvalidProblem",
    "Ladder",
    "MethodInfo",
    "ModelInfo",
    "NoiseModel",
    "Norm",
    "NotFound",
    "Overloaded",
    "Precision",
    "Prediction",
    "Price",
    "Problem",
    "Progress",
    "RadiusVerdict",
    "Rng",
    "Rounding",
    "Selection",
    "Semantics",
    "SmoothedPrediction",
    "Smoothing",
    "Stopping",
    "Target",
    "Unsound",
    "Unsupported",
    "Verdict",
    "VerifierError",
    "WorkerLost",
    "__version__",
    "connect",
    "connect_async",
    "local",
    "local_async",
]
