import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from verifier.v1 import methods_pb2 as _methods_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_UNSPECIFIED: _ClassVar[Verdict]
    VERDICT_CERTIFIED: _ClassVar[Verdict]
    VERDICT_ABSTAINED: _ClassVar[Verdict]
    VERDICT_UNKNOWN: _ClassVar[Verdict]
    VERDICT_FALSIFIED: _ClassVar[Verdict]

class GuaranteeGrade(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GUARANTEE_GRADE_UNSPECIFIED: _ClassVar[GuaranteeGrade]
    GUARANTEE_GRADE_STATISTICAL: _ClassVar[GuaranteeGrade]
    GUARANTEE_GRADE_FLOAT_SOUND: _ClassVar[GuaranteeGrade]
    GUARANTEE_GRADE_REAL_ARITHMETIC: _ClassVar[GuaranteeGrade]
    GUARANTEE_GRADE_SOLVER_TOLERANCE: _ClassVar[GuaranteeGrade]

class NoiseModel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NOISE_MODEL_UNSPECIFIED: _ClassVar[NoiseModel]
    NOISE_MODEL_IDEAL: _ClassVar[NoiseModel]
    NOISE_MODEL_EXACT: _ClassVar[NoiseModel]

class SeedOrigin(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEED_ORIGIN_UNSPECIFIED: _ClassVar[SeedOrigin]
    SEED_ORIGIN_CLIENT: _ClassVar[SeedOrigin]
    SEED_ORIGIN_SERVER: _ClassVar[SeedOrigin]

class RadiusVerdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RADIUS_VERDICT_UNSPECIFIED: _ClassVar[RadiusVerdict]
    RADIUS_VERDICT_CERTIFIED: _ClassVar[RadiusVerdict]
    RADIUS_VERDICT_NOT_CERTIFIED: _ClassVar[RadiusVerdict]
    RADIUS_VERDICT_UNDECIDED: _ClassVar[RadiusVerdict]

class Stopped(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STOPPED_UNSPECIFIED: _ClassVar[Stopped]
    STOPPED_DECIDED: _ClassVar[Stopped]
    STOPPED_DRAWS: _ClassVar[Stopped]
    STOPPED_EARLY: _ClassVar[Stopped]

class RegionKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REGION_KIND_UNSPECIFIED: _ClassVar[RegionKind]
    REGION_KIND_BALL: _ClassVar[RegionKind]
    REGION_KIND_BOX: _ClassVar[RegionKind]
VERDICT_UNSPECIFIED: Verdict
VERDICT_CERTIFIED: Verdict
VERDICT_ABSTAINED: Verdict
VERDICT_UNKNOWN: Verdict
VERDICT_FALSIFIED: Verdict
GUARANTEE_GRADE_UNSPECIFIED: GuaranteeGrade
GUARANTEE_GRADE_STATISTICAL: GuaranteeGrade
GUARANTEE_GRADE_FLOAT_SOUND: GuaranteeGrade
GUARANTEE_GRADE_REAL_ARITHMETIC: GuaranteeGrade
GUARANTEE_GRADE_SOLVER_TOLERANCE: GuaranteeGrade
NOISE_MODEL_UNSPECIFIED: NoiseModel
NOISE_MODEL_IDEAL: NoiseModel
NOISE_MODEL_EXACT: NoiseModel
SEED_ORIGIN_UNSPECIFIED: SeedOrigin
SEED_ORIGIN_CLIENT: SeedOrigin
SEED_ORIGIN_SERVER: SeedOrigin
RADIUS_VERDICT_UNSPECIFIED: RadiusVerdict
RADIUS_VERDICT_CERTIFIED: RadiusVerdict
RADIUS_VERDICT_NOT_CERTIFIED: RadiusVerdict
RADIUS_VERDICT_UNDECIDED: RadiusVerdict
STOPPED_UNSPECIFIED: Stopped
STOPPED_DECIDED: Stopped
STOPPED_DRAWS: Stopped
STOPPED_EARLY: Stopped
REGION_KIND_UNSPECIFIED: RegionKind
REGION_KIND_BALL: RegionKind
REGION_KIND_BOX: RegionKind

class Guarantee(_message.Message):
    __slots__ = ("grade", "alpha", "noise_model")
    GRADE_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    NOISE_MODEL_FIELD_NUMBER: _ClassVar[int]
    grade: GuaranteeGrade
    alpha: float
    noise_model: NoiseModel
    def __init__(self, grade: _Optional[_Union[GuaranteeGrade, str]] = ..., alpha: _Optional[float] = ..., noise_model: _Optional[_Union[NoiseModel, str]] = ...) -> None: ...

class Subject(_message.Message):
    __slots__ = ("model", "precision", "noise")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    NOISE_FIELD_NUMBER: _ClassVar[int]
    model: str
    precision: _methods_pb2.Precision
    noise: _methods_pb2.NoiseParameters
    def __init__(self, model: _Optional[str] = ..., precision: _Optional[_Union[_methods_pb2.Precision, str]] = ..., noise: _Optional[_Union[_methods_pb2.NoiseParameters, _Mapping]] = ...) -> None: ...

class Votes(_message.Message):
    __slots__ = ("n", "top", "top_count", "runner_up", "runner_up_count", "invalid_count")
    N_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    TOP_COUNT_FIELD_NUMBER: _ClassVar[int]
    RUNNER_UP_FIELD_NUMBER: _ClassVar[int]
    RUNNER_UP_COUNT_FIELD_NUMBER: _ClassVar[int]
    INVALID_COUNT_FIELD_NUMBER: _ClassVar[int]
    n: int
    top: int
    top_count: int
    runner_up: int
    runner_up_count: int
    invalid_count: int
    def __init__(self, n: _Optional[int] = ..., top: _Optional[int] = ..., top_count: _Optional[int] = ..., runner_up: _Optional[int] = ..., runner_up_count: _Optional[int] = ..., invalid_count: _Optional[int] = ...) -> None: ...

class RadiusDecision(_message.Message):
    __slots__ = ("radius", "verdict", "draws")
    RADIUS_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    DRAWS_FIELD_NUMBER: _ClassVar[int]
    radius: float
    verdict: RadiusVerdict
    draws: int
    def __init__(self, radius: _Optional[float] = ..., verdict: _Optional[_Union[RadiusVerdict, str]] = ..., draws: _Optional[int] = ...) -> None: ...

class SequentialEvidence(_message.Message):
    __slots__ = ("plan", "looks", "counts", "decisions", "stopped")
    PLAN_FIELD_NUMBER: _ClassVar[int]
    LOOKS_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    STOPPED_FIELD_NUMBER: _ClassVar[int]
    plan: str
    looks: _containers.RepeatedScalarFieldContainer[int]
    counts: _containers.RepeatedScalarFieldContainer[int]
    decisions: _containers.RepeatedCompositeFieldContainer[RadiusDecision]
    stopped: Stopped
    def __init__(self, plan: _Optional[str] = ..., looks: _Optional[_Iterable[int]] = ..., counts: _Optional[_Iterable[int]] = ..., decisions: _Optional[_Iterable[_Union[RadiusDecision, _Mapping]]] = ..., stopped: _Optional[_Union[Stopped, str]] = ...) -> None: ...

class Attempt(_message.Message):
    __slots__ = ("number", "alpha_spent")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    ALPHA_SPENT_FIELD_NUMBER: _ClassVar[int]
    number: int
    alpha_spent: float
    def __init__(self, number: _Optional[int] = ..., alpha_spent: _Optional[float] = ...) -> None: ...

class SamplingEvidence(_message.Message):
    __slots__ = ("selection", "estimation", "p_a_lower", "p_b_upper", "seed", "seed_origin", "rng", "classes", "sequential", "attempt")
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    ESTIMATION_FIELD_NUMBER: _ClassVar[int]
    P_A_LOWER_FIELD_NUMBER: _ClassVar[int]
    P_B_UPPER_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    SEED_ORIGIN_FIELD_NUMBER: _ClassVar[int]
    RNG_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    SEQUENTIAL_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    selection: Votes
    estimation: Votes
    p_a_lower: float
    p_b_upper: float
    seed: int
    seed_origin: SeedOrigin
    rng: str
    classes: int
    sequential: SequentialEvidence
    attempt: Attempt
    def __init__(self, selection: _Optional[_Union[Votes, _Mapping]] = ..., estimation: _Optional[_Union[Votes, _Mapping]] = ..., p_a_lower: _Optional[float] = ..., p_b_upper: _Optional[float] = ..., seed: _Optional[int] = ..., seed_origin: _Optional[_Union[SeedOrigin, str]] = ..., rng: _Optional[str] = ..., classes: _Optional[int] = ..., sequential: _Optional[_Union[SequentialEvidence, _Mapping]] = ..., attempt: _Optional[_Union[Attempt, _Mapping]] = ...) -> None: ...

class Range(_message.Message):
    __slots__ = ("lower", "upper")
    LOWER_FIELD_NUMBER: _ClassVar[int]
    UPPER_FIELD_NUMBER: _ClassVar[int]
    lower: float
    upper: float
    def __init__(self, lower: _Optional[float] = ..., upper: _Optional[float] = ...) -> None: ...

class Region(_message.Message):
    __slots__ = ("kind", "domain", "domain_digest", "weights_digest")
    KIND_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_DIGEST_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    kind: RegionKind
    domain: Range
    domain_digest: str
    weights_digest: str
    def __init__(self, kind: _Optional[_Union[RegionKind, str]] = ..., domain: _Optional[_Union[Range, _Mapping]] = ..., domain_digest: _Optional[str] = ..., weights_digest: _Optional[str] = ...) -> None: ...

class BoundEvidence(_message.Message):
    __slots__ = ("bound", "eps", "margins", "region", "classes", "evaluations", "audited")
    BOUND_FIELD_NUMBER: _ClassVar[int]
    EPS_FIELD_NUMBER: _ClassVar[int]
    MARGINS_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    EVALUATIONS_FIELD_NUMBER: _ClassVar[int]
    AUDITED_FIELD_NUMBER: _ClassVar[int]
    bound: str
    eps: float
    margins: _containers.RepeatedScalarFieldContainer[float]
    region: Region
    classes: int
    evaluations: int
    audited: int
    def __init__(self, bound: _Optional[str] = ..., eps: _Optional[float] = ..., margins: _Optional[_Iterable[float]] = ..., region: _Optional[_Union[Region, _Mapping]] = ..., classes: _Optional[int] = ..., evaluations: _Optional[int] = ..., audited: _Optional[int] = ...) -> None: ...

class Execution(_message.Message):
    __slots__ = ("device", "device_name", "batch_rows", "form", "row_exact", "versions", "start_time", "elapsed")
    class VersionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_NAME_FIELD_NUMBER: _ClassVar[int]
    BATCH_ROWS_FIELD_NUMBER: _ClassVar[int]
    FORM_FIELD_NUMBER: _ClassVar[int]
    ROW_EXACT_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_FIELD_NUMBER: _ClassVar[int]
    device: str
    device_name: str
    batch_rows: int
    form: str
    row_exact: bool
    versions: _containers.ScalarMap[str, str]
    start_time: _timestamp_pb2.Timestamp
    elapsed: _duration_pb2.Duration
    def __init__(self, device: _Optional[str] = ..., device_name: _Optional[str] = ..., batch_rows: _Optional[int] = ..., form: _Optional[str] = ..., row_exact: bool = ..., versions: _Optional[_Mapping[str, str]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., elapsed: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Certificate(_message.Message):
    __slots__ = ("index", "input_digest", "label", "verdict", "prediction", "norm", "radius", "eps", "subject", "guarantee", "method", "sampling", "bounds", "execution")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    INPUT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_FIELD_NUMBER: _ClassVar[int]
    NORM_FIELD_NUMBER: _ClassVar[int]
    RADIUS_FIELD_NUMBER: _ClassVar[int]
    EPS_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    GUARANTEE_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    BOUNDS_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    index: int
    input_digest: str
    label: int
    verdict: Verdict
    prediction: int
    norm: _methods_pb2.Norm
    radius: float
    eps: float
    subject: Subject
    guarantee: Guarantee
    method: _methods_pb2.Method
    sampling: SamplingEvidence
    bounds: BoundEvidence
    execution: Execution
    def __init__(self, index: _Optional[int] = ..., input_digest: _Optional[str] = ..., label: _Optional[int] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., prediction: _Optional[int] = ..., norm: _Optional[_Union[_methods_pb2.Norm, str]] = ..., radius: _Optional[float] = ..., eps: _Optional[float] = ..., subject: _Optional[_Union[Subject, _Mapping]] = ..., guarantee: _Optional[_Union[Guarantee, _Mapping]] = ..., method: _Optional[_Union[_methods_pb2.Method, _Mapping]] = ..., sampling: _Optional[_Union[SamplingEvidence, _Mapping]] = ..., bounds: _Optional[_Union[BoundEvidence, _Mapping]] = ..., execution: _Optional[_Union[Execution, _Mapping]] = ...) -> None: ...

class Prediction(_message.Message):
    __slots__ = ("index", "input_digest", "label", "prediction", "p_value", "votes", "subject", "alpha", "seed", "seed_origin", "rng", "execution")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    INPUT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_FIELD_NUMBER: _ClassVar[int]
    P_VALUE_FIELD_NUMBER: _ClassVar[int]
    VOTES_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    SEED_ORIGIN_FIELD_NUMBER: _ClassVar[int]
    RNG_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    index: int
    input_digest: str
    label: int
    prediction: int
    p_value: float
    votes: Votes
    subject: Subject
    alpha: float
    seed: int
    seed_origin: SeedOrigin
    rng: str
    execution: Execution
    def __init__(self, index: _Optional[int] = ..., input_digest: _Optional[str] = ..., label: _Optional[int] = ..., prediction: _Optional[int] = ..., p_value: _Optional[float] = ..., votes: _Optional[_Union[Votes, _Mapping]] = ..., subject: _Optional[_Union[Subject, _Mapping]] = ..., alpha: _Optional[float] = ..., seed: _Optional[int] = ..., seed_origin: _Optional[_Union[SeedOrigin, str]] = ..., rng: _Optional[str] = ..., execution: _Optional[_Union[Execution, _Mapping]] = ...) -> None: ...
