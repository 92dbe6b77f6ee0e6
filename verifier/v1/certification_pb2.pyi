from verifier.v1 import certificate_pb2 as _certificate_pb2
from verifier.v1 import methods_pb2 as _methods_pb2
from verifier.v1 import tensor_pb2 as _tensor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CertifySpec(_message.Message):
    __slots__ = ("model", "norm", "method", "eps", "seed", "validate_only", "domain", "weights", "partial")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    NORM_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    EPS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_FIELD_NUMBER: _ClassVar[int]
    model: str
    norm: _methods_pb2.Norm
    method: _methods_pb2.Method
    eps: float
    seed: int
    validate_only: bool
    domain: Domain
    weights: _tensor_pb2.Tensor
    partial: bool
    def __init__(self, model: _Optional[str] = ..., norm: _Optional[_Union[_methods_pb2.Norm, str]] = ..., method: _Optional[_Union[_methods_pb2.Method, _Mapping]] = ..., eps: _Optional[float] = ..., seed: _Optional[int] = ..., validate_only: bool = ..., domain: _Optional[_Union[Domain, _Mapping]] = ..., weights: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., partial: bool = ...) -> None: ...

class Domain(_message.Message):
    __slots__ = ("lower", "upper")
    LOWER_FIELD_NUMBER: _ClassVar[int]
    UPPER_FIELD_NUMBER: _ClassVar[int]
    lower: _tensor_pb2.Tensor
    upper: _tensor_pb2.Tensor
    def __init__(self, lower: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., upper: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ...) -> None: ...

class InlineInputs(_message.Message):
    __slots__ = ("x", "labels", "lower", "upper")
    X_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    LOWER_FIELD_NUMBER: _ClassVar[int]
    UPPER_FIELD_NUMBER: _ClassVar[int]
    x: _tensor_pb2.Tensor
    labels: _tensor_pb2.Tensor
    lower: _tensor_pb2.Tensor
    upper: _tensor_pb2.Tensor
    def __init__(self, x: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., labels: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., lower: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., upper: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ...) -> None: ...

class DatasetInputs(_message.Message):
    __slots__ = ("dataset",)
    DATASET_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    def __init__(self, dataset: _Optional[str] = ...) -> None: ...

class CertifyRequest(_message.Message):
    __slots__ = ("spec", "inline", "dataset")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    INLINE_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    spec: CertifySpec
    inline: InlineInputs
    dataset: DatasetInputs
    def __init__(self, spec: _Optional[_Union[CertifySpec, _Mapping]] = ..., inline: _Optional[_Union[InlineInputs, _Mapping]] = ..., dataset: _Optional[_Union[DatasetInputs, _Mapping]] = ...) -> None: ...

class StreamCertifyRequest(_message.Message):
    __slots__ = ("spec", "inline", "dataset")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    INLINE_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    spec: CertifySpec
    inline: InlineInputs
    dataset: DatasetInputs
    def __init__(self, spec: _Optional[_Union[CertifySpec, _Mapping]] = ..., inline: _Optional[_Union[InlineInputs, _Mapping]] = ..., dataset: _Optional[_Union[DatasetInputs, _Mapping]] = ...) -> None: ...

class Price(_message.Message):
    __slots__ = ("forward_passes", "largest_radius", "seconds", "warnings", "expected_passes")
    FORWARD_PASSES_FIELD_NUMBER: _ClassVar[int]
    LARGEST_RADIUS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_PASSES_FIELD_NUMBER: _ClassVar[int]
    forward_passes: int
    largest_radius: float
    seconds: float
    warnings: _containers.RepeatedScalarFieldContainer[str]
    expected_passes: int
    def __init__(self, forward_passes: _Optional[int] = ..., largest_radius: _Optional[float] = ..., seconds: _Optional[float] = ..., warnings: _Optional[_Iterable[str]] = ..., expected_passes: _Optional[int] = ...) -> None: ...

class CertifyResponse(_message.Message):
    __slots__ = ("model", "certificates", "price")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATES_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    model: str
    certificates: _containers.RepeatedCompositeFieldContainer[_certificate_pb2.Certificate]
    price: Price
    def __init__(self, model: _Optional[str] = ..., certificates: _Optional[_Iterable[_Union[_certificate_pb2.Certificate, _Mapping]]] = ..., price: _Optional[_Union[Price, _Mapping]] = ...) -> None: ...

class StreamCertifyResponse(_message.Message):
    __slots__ = ("model", "certificates", "price", "forward_passes_done", "partial")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATES_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    FORWARD_PASSES_DONE_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_FIELD_NUMBER: _ClassVar[int]
    model: str
    certificates: _containers.RepeatedCompositeFieldContainer[_certificate_pb2.Certificate]
    price: Price
    forward_passes_done: int
    partial: _containers.RepeatedCompositeFieldContainer[_certificate_pb2.Certificate]
    def __init__(self, model: _Optional[str] = ..., certificates: _Optional[_Iterable[_Union[_certificate_pb2.Certificate, _Mapping]]] = ..., price: _Optional[_Union[Price, _Mapping]] = ..., forward_passes_done: _Optional[int] = ..., partial: _Optional[_Iterable[_Union[_certificate_pb2.Certificate, _Mapping]]] = ...) -> None: ...

class CertifyInputsRequest(_message.Message):
    __slots__ = ("spec", "inline")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    INLINE_FIELD_NUMBER: _ClassVar[int]
    spec: CertifySpec
    inline: InlineInputs
    def __init__(self, spec: _Optional[_Union[CertifySpec, _Mapping]] = ..., inline: _Optional[_Union[InlineInputs, _Mapping]] = ...) -> None: ...

class CertifyInputsResponse(_message.Message):
    __slots__ = ("model", "certificates", "inputs_received", "forward_passes_done", "partial")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATES_FIELD_NUMBER: _ClassVar[int]
    INPUTS_RECEIVED_FIELD_NUMBER: _ClassVar[int]
    FORWARD_PASSES_DONE_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_FIELD_NUMBER: _ClassVar[int]
    model: str
    certificates: _containers.RepeatedCompositeFieldContainer[_certificate_pb2.Certificate]
    inputs_received: int
    forward_passes_done: int
    partial: _containers.RepeatedCompositeFieldContainer[_certificate_pb2.Certificate]
    def __init__(self, model: _Optional[str] = ..., certificates: _Optional[_Iterable[_Union[_certificate_pb2.Certificate, _Mapping]]] = ..., inputs_received: _Optional[int] = ..., forward_passes_done: _Optional[int] = ..., partial: _Optional[_Iterable[_Union[_certificate_pb2.Certificate, _Mapping]]] = ...) -> None: ...

class PredictRequest(_message.Message):
    __slots__ = ("model", "noise", "n", "alpha", "precision", "rng", "seed", "inputs")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    NOISE_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    RNG_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    model: str
    noise: _methods_pb2.NoiseParameters
    n: int
    alpha: float
    precision: _methods_pb2.Precision
    rng: str
    seed: int
    inputs: InlineInputs
    def __init__(self, model: _Optional[str] = ..., noise: _Optional[_Union[_methods_pb2.NoiseParameters, _Mapping]] = ..., n: _Optional[int] = ..., alpha: _Optional[float] = ..., precision: _Optional[_Union[_methods_pb2.Precision, str]] = ..., rng: _Optional[str] = ..., seed: _Optional[int] = ..., inputs: _Optional[_Union[InlineInputs, _Mapping]] = ...) -> None: ...

class PredictResponse(_message.Message):
    __slots__ = ("model", "predictions")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    model: str
    predictions: _containers.RepeatedCompositeFieldContainer[_certificate_pb2.Prediction]
    def __init__(self, model: _Optional[str] = ..., predictions: _Optional[_Iterable[_Union[_certificate_pb2.Prediction, _Mapping]]] = ...) -> None: ...

class ListMethodsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class MethodParameter(_message.Message):
    __slots__ = ("name", "description")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ...) -> None: ...

class MethodInfo(_message.Message):
    __slots__ = ("name", "summary", "norms", "grade", "guarantee", "parameters")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    NORMS_FIELD_NUMBER: _ClassVar[int]
    GRADE_FIELD_NUMBER: _ClassVar[int]
    GUARANTEE_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    name: str
    summary: str
    norms: _containers.RepeatedScalarFieldContainer[_methods_pb2.Norm]
    grade: _certificate_pb2.GuaranteeGrade
    guarantee: str
    parameters: _containers.RepeatedCompositeFieldContainer[MethodParameter]
    def __init__(self, name: _Optional[str] = ..., summary: _Optional[str] = ..., norms: _Optional[_Iterable[_Union[_methods_pb2.Norm, str]]] = ..., grade: _Optional[_Union[_certificate_pb2.GuaranteeGrade, str]] = ..., guarantee: _Optional[str] = ..., parameters: _Optional[_Iterable[_Union[MethodParameter, _Mapping]]] = ...) -> None: ...

class ListMethodsResponse(_message.Message):
    __slots__ = ("methods",)
    METHODS_FIELD_NUMBER: _ClassVar[int]
    methods: _containers.RepeatedCompositeFieldContainer[MethodInfo]
    def __init__(self, methods: _Optional[_Iterable[_Union[MethodInfo, _Mapping]]] = ...) -> None: ...
