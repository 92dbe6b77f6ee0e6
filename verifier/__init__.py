"""Certified robustness for neural classifiers: a radius with the evidence to check it.

>>> import verifier
>>> with verifier.connect("localhost:50051") as v:            # or verifier.local()
...     model = v.models.add("digits", onnx="digits.onnx")
...     for c in v.certify(model, x, verifier.Smoothing(sigma=0.25), labels=y):
...         print(c.index, c.verdict, c.prediction, c.radius)
"""

from verifier.catalogue import MethodInfo, Price, Progress
from verifier.certificate import Certificate, Grade, NoiseModel, SmoothedPrediction, Verdict
from verifier.client.client import AsyncClient, Client, connect, connect_async, local, local_async
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
from verifier.methods import Precision, Prediction, Rng, Selection, Smoothing
from verifier.model import ModelInfo
from verifier.problem import Norm, Problem
from verifier.version import __version__

__all__ = [
    "AlreadyExists",
    "AsyncClient",
    "Certificate",
    "Client",
    "Conflict",
    "DeadlineExceeded",
    "Grade",
    "InternalError",
    "InvalidProblem",
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
    "Rng",
    "Selection",
    "SmoothedPrediction",
    "Smoothing",
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
