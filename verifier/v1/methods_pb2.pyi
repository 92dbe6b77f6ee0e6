from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Norm(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NORM_UNSPECIFIED: _ClassVar[Norm]
    NORM_L1: _ClassVar[Norm]
    NORM_L2: _ClassVar[Norm]
    NORM_LINF: _ClassVar[Norm]

class Precision(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRECISION_UNSPECIFIED: _ClassVar[Precision]
    PRECISION_FLOAT32: _ClassVar[Precision]
    PRECISION_TF32: _ClassVar[Precision]
    PRECISION_BFLOAT16: _ClassVar[Precision]
    PRECISION_REAL: _ClassVar[Precision]

class Selection(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SELECTION_UNSPECIFIED: _ClassVar[Selection]
    SELECTION_N0: _ClassVar[Selection]
    SELECTION_SINGLE_STAGE: _ClassVar[Selection]

class Target(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TARGET_UNSPECIFIED: _ClassVar[Target]
    TARGET_TOP: _ClassVar[Target]
    TARGET_LABEL: _ClassVar[Target]

class Semantics(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEMANTICS_UNSPECIFIED: _ClassVar[Semantics]
    SEMANTICS_REAL: _ClassVar[Semantics]
    SEMANTICS_FLOAT32_EXEC: _ClassVar[Semantics]

class Rounding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROUNDING_UNSPECIFIED: _ClassVar[Rounding]
    ROUNDING_OUTWARD: _ClassVar[Rounding]
    ROUNDING_NEAREST: _ClassVar[Rounding]
NORM_UNSPECIFIED: Norm
NORM_L1: Norm
NORM_L2: Norm
NORM_LINF: Norm
PRECISION_UNSPECIFIED: Precision
PRECISION_FLOAT32: Precision
PRECISION_TF32: Precision
PRECISION_BFLOAT16: Precision
PRECISION_REAL: Precision
SELECTION_UNSPECIFIED: Selection
SELECTION_N0: Selection
SELECTION_SINGLE_STAGE: Selection
TARGET_UNSPECIFIED: Target
TARGET_TOP: Target
TARGET_LABEL: Target
SEMANTICS_UNSPECIFIED: Semantics
SEMANTICS_REAL: Semantics
SEMANTICS_FLOAT32_EXEC: Semantics
ROUNDING_UNSPECIFIED: Rounding
ROUNDING_OUTWARD: Rounding
ROUNDING_NEAREST: Rounding

class GaussianNoise(_message.Message):
    __slots__ = ("sigma",)
    SIGMA_FIELD_NUMBER: _ClassVar[int]
    sigma: float
    def __init__(self, sigma: _Optional[float] = ...) -> None: ...

class NoiseParameters(_message.Message):
    __slots__ = ("gaussian",)
    GAUSSIAN_FIELD_NUMBER: _ClassVar[int]
    gaussian: GaussianNoise
    def __init__(self, gaussian: _Optional[_Union[GaussianNoise, _Mapping]] = ...) -> None: ...

class FixedStopping(_message.Message):
    __slots__ = ("n",)
    N_FIELD_NUMBER: _ClassVar[int]
    n: int
    def __init__(self, n: _Optional[int] = ...) -> None: ...

class DecideStopping(_message.Message):
    __slots__ = ("radii", "max_n", "futility")
    RADII_FIELD_NUMBER: _ClassVar[int]
    MAX_N_FIELD_NUMBER: _ClassVar[int]
    FUTILITY_FIELD_NUMBER: _ClassVar[int]
    radii: _containers.RepeatedScalarFieldContainer[float]
    max_n: int
    futility: float
    def __init__(self, radii: _Optional[_Iterable[float]] = ..., max_n: _Optional[int] = ..., futility: _Optional[float] = ...) -> None: ...

class GridStopping(_message.Message):
    __slots__ = ("step", "max_n", "futility")
    STEP_FIELD_NUMBER: _ClassVar[int]
    MAX_N_FIELD_NUMBER: _ClassVar[int]
    FUTILITY_FIELD_NUMBER: _ClassVar[int]
    step: float
    max_n: int
    futility: float
    def __init__(self, step: _Optional[float] = ..., max_n: _Optional[int] = ..., futility: _Optional[float] = ...) -> None: ...

class AnytimeStopping(_message.Message):
    __slots__ = ("max_n",)
    MAX_N_FIELD_NUMBER: _ClassVar[int]
    max_n: int
    def __init__(self, max_n: _Optional[int] = ...) -> None: ...

class Smoothing(_message.Message):
    __slots__ = ("noise", "n0", "alpha", "fixed", "decide", "grid", "anytime", "selection", "runner_up", "precision", "rng", "target", "max_forward_passes", "max_seconds")
    NOISE_FIELD_NUMBER: _ClassVar[int]
    N0_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    FIXED_FIELD_NUMBER: _ClassVar[int]
    DECIDE_FIELD_NUMBER: _ClassVar[int]
    GRID_FIELD_NUMBER: _ClassVar[int]
    ANYTIME_FIELD_NUMBER: _ClassVar[int]
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    RUNNER_UP_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    RNG_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    MAX_FORWARD_PASSES_FIELD_NUMBER: _ClassVar[int]
    MAX_SECONDS_FIELD_NUMBER: _ClassVar[int]
    noise: NoiseParameters
    n0: int
    alpha: float
    fixed: FixedStopping
    decide: DecideStopping
    grid: GridStopping
    anytime: AnytimeStopping
    selection: Selection
    runner_up: bool
    precision: Precision
    rng: str
    target: Target
    max_forward_passes: int
    max_seconds: float
    def __init__(self, noise: _Optional[_Union[NoiseParameters, _Mapping]] = ..., n0: _Optional[int] = ..., alpha: _Optional[float] = ..., fixed: _Optional[_Union[FixedStopping, _Mapping]] = ..., decide: _Optional[_Union[DecideStopping, _Mapping]] = ..., grid: _Optional[_Union[GridStopping, _Mapping]] = ..., anytime: _Optional[_Union[AnytimeStopping, _Mapping]] = ..., selection: _Optional[_Union[Selection, str]] = ..., runner_up: bool = ..., precision: _Optional[_Union[Precision, str]] = ..., rng: _Optional[str] = ..., target: _Optional[_Union[Target, str]] = ..., max_forward_passes: _Optional[int] = ..., max_seconds: _Optional[float] = ...) -> None: ...

class BoundOptions(_message.Message):
    __slots__ = ("semantics", "rounding", "tolerance", "audit", "memory_bytes", "max_seconds")
    SEMANTICS_FIELD_NUMBER: _ClassVar[int]
    ROUNDING_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    AUDIT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_SECONDS_FIELD_NUMBER: _ClassVar[int]
    semantics: Semantics
    rounding: Rounding
    tolerance: float
    audit: int
    memory_bytes: int
    max_seconds: float
    def __init__(self, semantics: _Optional[_Union[Semantics, str]] = ..., rounding: _Optional[_Union[Rounding, str]] = ..., tolerance: _Optional[float] = ..., audit: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., max_seconds: _Optional[float] = ...) -> None: ...

class Ibp(_message.Message):
    __slots__ = ("options",)
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    options: BoundOptions
    def __init__(self, options: _Optional[_Union[BoundOptions, _Mapping]] = ...) -> None: ...

class CrownIbp(_message.Message):
    __slots__ = ("options",)
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    options: BoundOptions
    def __init__(self, options: _Optional[_Union[BoundOptions, _Mapping]] = ...) -> None: ...

class Crown(_message.Message):
    __slots__ = ("options",)
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    options: BoundOptions
    def __init__(self, options: _Optional[_Union[BoundOptions, _Mapping]] = ...) -> None: ...

class AlphaCrown(_message.Message):
    __slots__ = ("options", "steps", "learning_rate")
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    options: BoundOptions
    steps: int
    learning_rate: float
    def __init__(self, options: _Optional[_Union[BoundOptions, _Mapping]] = ..., steps: _Optional[int] = ..., learning_rate: _Optional[float] = ...) -> None: ...

class Ladder(_message.Message):
    __slots__ = ("options", "steps", "learning_rate")
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    options: BoundOptions
    steps: int
    learning_rate: float
    def __init__(self, options: _Optional[_Union[BoundOptions, _Mapping]] = ..., steps: _Optional[int] = ..., learning_rate: _Optional[float] = ...) -> None: ...

class Method(_message.Message):
    __slots__ = ("smoothing", "ibp", "crown_ibp", "crown", "alpha_crown", "ladder")
    SMOOTHING_FIELD_NUMBER: _ClassVar[int]
    IBP_FIELD_NUMBER: _ClassVar[int]
    CROWN_IBP_FIELD_NUMBER: _ClassVar[int]
    CROWN_FIELD_NUMBER: _ClassVar[int]
    ALPHA_CROWN_FIELD_NUMBER: _ClassVar[int]
    LADDER_FIELD_NUMBER: _ClassVar[int]
    smoothing: Smoothing
    ibp: Ibp
    crown_ibp: CrownIbp
    crown: Crown
    alpha_crown: AlphaCrown
    ladder: Ladder
    def __init__(self, smoothing: _Optional[_Union[Smoothing, _Mapping]] = ..., ibp: _Optional[_Union[Ibp, _Mapping]] = ..., crown_ibp: _Optional[_Union[CrownIbp, _Mapping]] = ..., crown: _Optional[_Union[Crown, _Mapping]] = ..., alpha_crown: _Optional[_Union[AlphaCrown, _Mapping]] = ..., ladder: _Optional[_Union[Ladder, _Mapping]] = ...) -> None: ...
