import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from verifier.v1 import certificate_pb2 as _certificate_pb2
from verifier.v1 import tensor_pb2 as _tensor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GateDecision(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GATE_DECISION_UNSPECIFIED: _ClassVar[GateDecision]
    GATE_DECISION_PASS: _ClassVar[GateDecision]
    GATE_DECISION_FAIL: _ClassVar[GateDecision]
    GATE_DECISION_INCONCLUSIVE: _ClassVar[GateDecision]
GATE_DECISION_UNSPECIFIED: GateDecision
GATE_DECISION_PASS: GateDecision
GATE_DECISION_FAIL: GateDecision
GATE_DECISION_INCONCLUSIVE: GateDecision

class ThresholdResult(_message.Message):
    __slots__ = ("name", "metric", "group", "norm", "radius", "at_least", "at_most", "value", "lower", "upper", "confidence", "successes", "trials", "gained", "lost", "look", "decision", "reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    NORM_FIELD_NUMBER: _ClassVar[int]
    RADIUS_FIELD_NUMBER: _ClassVar[int]
    AT_LEAST_FIELD_NUMBER: _ClassVar[int]
    AT_MOST_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    LOWER_FIELD_NUMBER: _ClassVar[int]
    UPPER_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    SUCCESSES_FIELD_NUMBER: _ClassVar[int]
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    GAINED_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    LOOK_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    metric: str
    group: str
    norm: str
    radius: float
    at_least: float
    at_most: float
    value: float
    lower: float
    upper: float
    confidence: float
    successes: int
    trials: int
    gained: int
    lost: int
    look: int
    decision: GateDecision
    reason: str
    def __init__(self, name: _Optional[str] = ..., metric: _Optional[str] = ..., group: _Optional[str] = ..., norm: _Optional[str] = ..., radius: _Optional[float] = ..., at_least: _Optional[float] = ..., at_most: _Optional[float] = ..., value: _Optional[float] = ..., lower: _Optional[float] = ..., upper: _Optional[float] = ..., confidence: _Optional[float] = ..., successes: _Optional[int] = ..., trials: _Optional[int] = ..., gained: _Optional[int] = ..., lost: _Optional[int] = ..., look: _Optional[int] = ..., decision: _Optional[_Union[GateDecision, str]] = ..., reason: _Optional[str] = ...) -> None: ...

class GateRun(_message.Message):
    __slots__ = ("name", "policy_name", "policy_digest", "policy_text", "model", "model_digest", "baseline", "baseline_digest", "dataset", "dataset_digest", "order_seed", "attempt", "delta", "alpha", "decision", "reason", "thresholds", "inputs", "used", "forward_passes", "forward_passes_all", "counts_digest", "start_time", "seconds", "versions")
    class VersionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    POLICY_NAME_FIELD_NUMBER: _ClassVar[int]
    POLICY_DIGEST_FIELD_NUMBER: _ClassVar[int]
    POLICY_TEXT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    BASELINE_FIELD_NUMBER: _ClassVar[int]
    BASELINE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    DATASET_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ORDER_SEED_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    FORWARD_PASSES_FIELD_NUMBER: _ClassVar[int]
    FORWARD_PASSES_ALL_FIELD_NUMBER: _ClassVar[int]
    COUNTS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    name: str
    policy_name: str
    policy_digest: str
    policy_text: str
    model: str
    model_digest: str
    baseline: str
    baseline_digest: str
    dataset: str
    dataset_digest: str
    order_seed: int
    attempt: int
    delta: float
    alpha: float
    decision: GateDecision
    reason: str
    thresholds: _containers.RepeatedCompositeFieldContainer[ThresholdResult]
    inputs: int
    used: int
    forward_passes: int
    forward_passes_all: int
    counts_digest: str
    start_time: _timestamp_pb2.Timestamp
    seconds: float
    versions: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., policy_name: _Optional[str] = ..., policy_digest: _Optional[str] = ..., policy_text: _Optional[str] = ..., model: _Optional[str] = ..., model_digest: _Optional[str] = ..., baseline: _Optional[str] = ..., baseline_digest: _Optional[str] = ..., dataset: _Optional[str] = ..., dataset_digest: _Optional[str] = ..., order_seed: _Optional[int] = ..., attempt: _Optional[int] = ..., delta: _Optional[float] = ..., alpha: _Optional[float] = ..., decision: _Optional[_Union[GateDecision, str]] = ..., reason: _Optional[str] = ..., thresholds: _Optional[_Iterable[_Union[ThresholdResult, _Mapping]]] = ..., inputs: _Optional[int] = ..., used: _Optional[int] = ..., forward_passes: _Optional[int] = ..., forward_passes_all: _Optional[int] = ..., counts_digest: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., seconds: _Optional[float] = ..., versions: _Optional[_Mapping[str, str]] = ...) -> None: ...

class RunGateRequest(_message.Message):
    __slots__ = ("parent", "policy", "model", "baseline", "force")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    BASELINE_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    parent: str
    policy: str
    model: str
    baseline: str
    force: bool
    def __init__(self, parent: _Optional[str] = ..., policy: _Optional[str] = ..., model: _Optional[str] = ..., baseline: _Optional[str] = ..., force: bool = ...) -> None: ...

class RunGateResponse(_message.Message):
    __slots__ = ("used", "inputs", "forward_passes", "run", "stored")
    USED_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    FORWARD_PASSES_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    used: int
    inputs: int
    forward_passes: int
    run: GateRun
    stored: bool
    def __init__(self, used: _Optional[int] = ..., inputs: _Optional[int] = ..., forward_passes: _Optional[int] = ..., run: _Optional[_Union[GateRun, _Mapping]] = ..., stored: bool = ...) -> None: ...

class GetGateRunRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListGateRunsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListGateRunsResponse(_message.Message):
    __slots__ = ("runs", "next_page_token")
    RUNS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedCompositeFieldContainer[GateRun]
    next_page_token: str
    def __init__(self, runs: _Optional[_Iterable[_Union[GateRun, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class StreamGateEvidenceRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ShownInput(_message.Message):
    __slots__ = ("index", "x", "label")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    X_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    index: int
    x: _tensor_pb2.Tensor
    label: int
    def __init__(self, index: _Optional[int] = ..., x: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., label: _Optional[int] = ...) -> None: ...

class StreamGateEvidenceResponse(_message.Message):
    __slots__ = ("record", "certificates", "shown", "model_manifest", "dataset_size")
    RECORD_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATES_FIELD_NUMBER: _ClassVar[int]
    SHOWN_FIELD_NUMBER: _ClassVar[int]
    MODEL_MANIFEST_FIELD_NUMBER: _ClassVar[int]
    DATASET_SIZE_FIELD_NUMBER: _ClassVar[int]
    record: str
    certificates: _containers.RepeatedCompositeFieldContainer[_certificate_pb2.Certificate]
    shown: _containers.RepeatedCompositeFieldContainer[ShownInput]
    model_manifest: str
    dataset_size: int
    def __init__(self, record: _Optional[str] = ..., certificates: _Optional[_Iterable[_Union[_certificate_pb2.Certificate, _Mapping]]] = ..., shown: _Optional[_Iterable[_Union[ShownInput, _Mapping]]] = ..., model_manifest: _Optional[str] = ..., dataset_size: _Optional[int] = ...) -> None: ...
