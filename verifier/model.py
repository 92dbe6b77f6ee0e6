"""What a model is to its users: what they send, and what the registry answers."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from verifier.errors import InvalidProblem

ALIAS_PATTERN = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")
DIGEST_PATTERN = re.compile(r"[0-9a-f]{64}")


class ModelFormat(StrEnum):
    """File formats that may come through the door: none of them can carry code."""

    ONNX = "onnx"
    SAFETENSORS = "safetensors"


@dataclass(frozen=True)
class Normalization:
    """(x - mean) / std per channel (axis 1), inside the model: radii stay in the units that the client sends.

    Args:
        mean: one value, or one a channel; finite.
        std: as many; finite, > 0.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(map(float, self.mean)))
        object.__setattr__(self, "std", tuple(map(float, self.std)))
        if not self.mean or len(self.mean) != len(self.std):
            raise InvalidProblem(
                f"normalize needs as many means as standard deviations, got {len(self.mean)} and {len(self.std)}",
                field="normalization",
            )
        if not all(map(math.isfinite, self.mean)) or not all(math.isfinite(s) and s > 0 for s in self.std):
            raise InvalidProblem(
                f"normalize needs finite means and finite standard deviations > 0, got {self.mean} and {self.std}",
                field="normalization",
            )


@dataclass(frozen=True)
class ModelSource:
    """How to read a model file: everything besides its bytes that decides which function it is.

    Args:
        format: of the file.
        architecture: name of an installed architecture; safetensors only, and required there.
        config: the architecture's configuration, JSON values only.
        normalization: applied before the network, inside the model.
        input_range: (lowest, highest) value of a valid input; inputs outside are refused. None: any.
    """

    format: ModelFormat
    architecture: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    normalization: Normalization | None = None
    input_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.format is ModelFormat.SAFETENSORS and not self.architecture:
            raise InvalidProblem(
                "safetensors hold weights only: name the architecture they belong to (--architecture NAME)",
                field="architecture",
            )
        if self.format is ModelFormat.ONNX and (self.architecture or self.config):
            raise InvalidProblem("an ONNX file brings its own architecture: name none", field="architecture")
        try:
            json.dumps(dict(self.config), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InvalidProblem(
                f"an architecture's config must be JSON ({error}), got {dict(self.config)}", field="config"
            ) from None
        if self.input_range is not None:
            low, high = map(float, self.input_range)
            object.__setattr__(self, "input_range", (low, high))
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise InvalidProblem(
                    f"input range must be two finite numbers, the lower first, got {low}, {high}", field="input_range"
                )


@dataclass(frozen=True)
class Manifest:
    """Which function a model version is. Its digest is the version's id.

    The bytes of the weights alone do not say which function they are: the same bytes under another
    architecture, normalisation or converter are another classifier.
    """

    weights_sha256: str
    source: ModelSource
    architecture_version: str | None
    converter: str | None
    input_shape: tuple[int, ...]
    classes: int

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces. The version's id is the SHA-256 of these bytes."""
        source = self.source
        normalization = source.normalization
        return json.dumps(
            {
                "manifest": 1,
                "weights_sha256": self.weights_sha256,
                "format": source.format.value,
                "architecture": source.architecture,
                "architecture_version": self.architecture_version,
                "config": dict(source.config),
                "converter": self.converter,
                "normalization": normalization and {"mean": list(normalization.mean), "std": list(normalization.std)},
                "input": {
                    "shape": list(self.input_shape),
                    "datatype": "FP32",
                    "range": source.input_range and list(source.input_range),
                    "grid": None,
                },
                "classes": self.classes,
            },
            sort_keys=True,
            separators=(",", ":"),
            allow_nan=False,
        )

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the canonical JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """The inverse of `to_json`."""
        data = json.loads(text)
        normalization = data["normalization"]
        value_range = data["input"]["range"]
        return cls(
            weights_sha256=data["weights_sha256"],
            source=ModelSource(
                format=ModelFormat(data["format"]),
                architecture=data["architecture"],
                config=data["config"],
                normalization=normalization
                and Normalization(tuple(normalization["mean"]), tuple(normalization["std"])),
                input_range=value_range and (value_range[0], value_range[1]),
            ),
            architecture_version=data["architecture_version"],
            converter=data["converter"],
            input_shape=tuple(data["input"]["shape"]),
            classes=data["classes"],
        )


@dataclass(frozen=True)
class DryRun:
    """What registration measured on random inputs.

    Args:
        batch_difference: largest difference of a logit between a row alone and the row in a batch.
        reference_difference: largest difference of a logit between our reading of an ONNX file and the
            reference evaluator; None where there is no second reading.
    """

    batch_difference: float
    reference_difference: float | None = None


@dataclass(frozen=True)
class ModelInfo:
    """A registered model version.

    Args:
        manifest: which function it is.
        aliases: names that resolve to it today.
        size: bytes of the file.
        created: seconds since the epoch.
        dry_run: what registration measured.
    """

    manifest: Manifest
    aliases: tuple[str, ...]
    size: int
    created: float
    dry_run: DryRun

    @property
    def digest(self) -> str:
        """The version's id."""
        return self.manifest.digest

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return {
            "digest": self.digest,
            "aliases": list(self.aliases),
            "size": self.size,
            "created": self.created,
            "batch_difference": self.dry_run.batch_difference,
            "reference_difference": self.dry_run.reference_difference,
            "manifest": json.loads(self.manifest.to_json()),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ModelInfo":
        """The inverse of `to_dict`."""
        return cls(
            manifest=Manifest.from_json(json.dumps(values["manifest"])),
            aliases=tuple(values["aliases"]),
            size=values["size"],
            created=values["created"],
            dry_run=DryRun(values["batch_difference"], values["reference_difference"]),
        )


def check_alias(alias: str) -> str:
    """The alias itself, or InvalidProblem: 1 to 63 of a-z 0-9 . _ -, and nothing that looks like a digest."""
    if not ALIAS_PATTERN.fullmatch(alias) or DIGEST_PATTERN.fullmatch(alias):
        raise InvalidProblem(
            f"a model's name must be 1 to 63 characters of a-z, 0-9, '.', '_', '-', got {alias!r}", field="alias"
        )
    return alias
