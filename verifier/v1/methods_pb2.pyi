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

class Selection(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SELECTION_UNSPECIFIED: _ClassVar[Selection]
    SELECTION_N0: _ClassVar[Selection]
    SELECTION_SINGLE_STAGE: _ClassVar[Selection]
NORM_UNSPECIFIED: Norm
NORM_L1: Norm
NORM_L2: Norm
NORM_LINF: Norm
PRECISION_UNSPECIFIED: Precision
PRECISION_FLOAT32: Precision
PRECISION_TF32: Precision
PRECISION_BFLOAT16: Precision
SELECTION_UNSPECIFIED: Selection
SELECTION_N0: Selection
SELECTION_SINGLE_STAGE: Selection

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
    __slots__ = ("radii", "max_n")
    RADII_FIELD_NUMBER: _ClassVar[int]
    MAX_N_FIELD_NUMBER: _ClassVar[int]
    radii: _containers.RepeatedScalarFieldContainer[float]
    max_n: int
    def __init__(self, radii: _Optional[_Iterable[float]] = ..., max_n: _Optional[int] = ...) -> None: ...

class GridStopping(_message.Message):
    __slots__ = ("step", "max_n")
    STEP_FIELD_NUMBER: _ClassVar[int]
    MAX_N_FIELD_NUMBER: _ClassVar[int]
    step: float
    max_n: int
    def __init__(self, step: _Optional[float] = ..., max_n: _Optional[int] = ...) -> None: ...

class AnytimeStopping(_message.Message):
    __slots__ = ("max_n",)
    MAX_N_FIELD_NUMBER: _ClassVar[int]
    max_n: int
    def __init__(self, max_n: _Optional[int] = ...) -> None: ...

class Smoothing(_message.Message):
    __slots__ = ("noise", "n0", "alpha", "fixed", "decide", "grid", "anytime", "selection", "runner_up", "precision", "rng")
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
    def __init__(self, noise: _Optional[_Union[NoiseParameters, _Mapping]] = ..., n0: _Optional[int] = ..., alpha: _Optional[float] = ..., fixed: _Optional[_Union[FixedStopping, _Mapping]] = ..., decide: _Optional[_Union[DecideStopping, _Mapping]] = ..., grid: _Optional[_Union[GridStopping, _Mapping]] = ..., anytime: _Optional[_Union[AnytimeStopping, _Mapping]] = ..., selection: _Optional[_Union[Selection, str]] = ..., runner_up: bool = ..., precision: _Optional[_Union[Precision, str]] = ..., rng: _Optional[str] = ...) -> None: ...

class Method(_message.Message):
    __slots__ = ("smoothing",)
    SMOOTHING_FIELD_NUMBER: _ClassVar[int]
    smoothing: Smoothing
    def __init__(self, smoothing: _Optional[_Union[Smoothing, _Mapping]] = ...) -> None: ...
