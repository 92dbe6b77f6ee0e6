"""Messages to words of the house and back, for models."""

import datetime
from typing import Any

from google.protobuf import json_format, struct_pb2

from verifier.errors import InvalidProblem
from verifier.model import DryRun, Manifest, ModelFormat, ModelInfo, ModelSource, Normalization
from verifier.v1 import models_pb2
from verifier.wire.names import model_name

_FORMATS = {
    ModelFormat.ONNX: models_pb2.MODEL_FORMAT_ONNX,
    ModelFormat.SAFETENSORS: models_pb2.MODEL_FORMAT_SAFETENSORS,
}
_FORMAT_OF = {number: kind for kind, number in _FORMATS.items()}


def to_source(source: ModelSource) -> models_pb2.ModelSource:
    """How to read a file, as a message."""
    message = models_pb2.ModelSource(format=_FORMATS[source.format], architecture=source.architecture or "")
    if source.config:
        message.config.update(dict(source.config))
    if source.normalization:
        message.normalization.mean.extend(source.normalization.mean)
        message.normalization.std.extend(source.normalization.std)
    if source.input_range:
        message.input_range.low, message.input_range.high = source.input_range
    return message


def from_source(message: models_pb2.ModelSource) -> ModelSource:
    """How to read a file, from a message."""
    if message.format not in _FORMAT_OF:
        raise InvalidProblem(
            "source.format must be MODEL_FORMAT_ONNX or MODEL_FORMAT_SAFETENSORS", field="source.format"
        )
    normalization = None
    if message.HasField("normalization"):
        normalization = Normalization(tuple(message.normalization.mean), tuple(message.normalization.std))
    input_range = None
    if message.HasField("input_range"):
        input_range = (message.input_range.low, message.input_range.high)
    return ModelSource(
        format=_FORMAT_OF[message.format],
        architecture=message.architecture or None,
        config=_config(message.config),
        normalization=normalization,
        input_range=input_range,
    )


def _config(message: struct_pb2.Struct) -> dict[str, Any]:
    try:
        config: dict[str, Any] = _whole_numbers(json_format.MessageToDict(message))
    except (json_format.Error, ValueError) as error:
        raise InvalidProblem(f"source.config must be JSON: {error}", field="source.config") from None
    return config


def _whole_numbers(value: Any) -> Any:
    """A Struct knows only doubles: whole ones become integers again, as JSON had them."""
    if isinstance(value, dict):
        return {key: _whole_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def to_model(info: ModelInfo) -> models_pb2.Model:
    """A registered version as a message."""
    message = models_pb2.Model(
        name=model_name(info.digest),
        digest=info.digest,
        aliases=info.aliases,
        manifest=info.manifest.to_json(),
        input_shape=info.manifest.input_shape,
        classes=info.manifest.classes,
        size=info.size,
        batch_difference=info.dry_run.batch_difference,
        reference_difference=info.dry_run.reference_difference,
    )
    message.create_time.FromDatetime(datetime.datetime.fromtimestamp(info.created, datetime.UTC))
    return message


def from_model(message: models_pb2.Model) -> ModelInfo:
    """A registered version from a message."""
    return ModelInfo(
        manifest=Manifest.from_json(message.manifest),
        aliases=tuple(message.aliases),
        size=message.size,
        created=message.create_time.ToNanoseconds() / 1e9,
        dry_run=DryRun(
            message.batch_difference,
            message.reference_difference if message.HasField("reference_difference") else None,
        ),
    )
