"""Arrays to tensor messages and back."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.errors import InvalidProblem
from verifier.v1 import tensor_pb2

_DATATYPES: dict[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "FP64": np.dtype("<f8"), "INT64": np.dtype("<i8")}
_NAMES = {dtype: name for name, dtype in _DATATYPES.items()}


def to_tensor(array: NDArray[Any]) -> tensor_pb2.Tensor:
    """A float32, float64 or int64 array as a message."""
    dtype = array.dtype.newbyteorder("<")
    data = np.ascontiguousarray(array, dtype=dtype).tobytes()
    return tensor_pb2.Tensor(datatype=_NAMES[dtype], shape=array.shape, data=data)


def from_tensor(tensor: tensor_pb2.Tensor, datatype: str, field: str, *, scalar: bool = False) -> NDArray[Any]:
    """The array of a message; InvalidProblem where datatype, shape and number of bytes do not fit.

    Args:
        scalar: whether it may be a single number, without axes.
    """
    if tensor.datatype != datatype:
        raise InvalidProblem(
            f"{field} must have datatype {datatype}, got {tensor.datatype or 'none'!r}", field=f"{field}.datatype"
        )
    shape = tuple(tensor.shape)
    if not (shape or scalar) or any(length < 0 for length in shape):
        raise InvalidProblem(f"{field} must have axes of length >= 0, got shape {list(shape)}", field=f"{field}.shape")
    dtype = _DATATYPES[datatype]
    expected = math.prod(shape) * dtype.itemsize
    if len(tensor.data) != expected:
        raise InvalidProblem(
            f"{field} of shape {list(shape)} needs {expected} bytes, got {len(tensor.data)}", field=f"{field}.data"
        )
    return np.frombuffer(tensor.data, dtype=dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)
