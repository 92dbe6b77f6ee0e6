"""What a stored data set consists of. The SHA-256 of its canonical form is the data set's digest."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from verifier.datasets.source import Extent
from verifier.errors import Unsound

FORMAT = 1

INPUTS_FILE, LABELS_FILE, FAULTS_FILE, MANIFEST_FILE = "inputs.f32", "labels.i64", "faults.json", "manifest.json"
"""Rows of little-endian float32; little-endian int64; [[index, reason], ...]; and the manifest."""


@dataclass(frozen=True)
class DatasetManifest:
    """What a data set consists of, whatever it is called and whenever it was stored.

    Args:
        extent: how much it is.
        classes: one more than the largest label; None without labels.
        faults: how many inputs have one.
        sha256: of each file, by its name.
    """

    extent: Extent
    classes: int | None
    faults: int
    sha256: Mapping[str, str]

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces."""
        return json.dumps(
            {
                "dataset": FORMAT,
                "shape": list(self.extent.shape),
                "size": self.extent.size,
                "labelled": self.extent.labelled,
                "classes": self.classes,
                "faults": self.faults,
                "sha256": dict(self.sha256),
            },
            sort_keys=True,
            separators=(",", ":"),
        )

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the canonical JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @classmethod
    def from_json(cls, text: str) -> "DatasetManifest":
        """The inverse of `to_json`.

        Raises:
            Unsound: written by another release; reason DATASET_FORMAT.
        """
        data = json.loads(text)
        if data["dataset"] != FORMAT:
            raise Unsound(
                f"a stored data set must have format {FORMAT}, got {data['dataset']}: use the release that wrote it",
                reason="DATASET_FORMAT",
            )
        extent = Extent(tuple(data["shape"]), data["size"], data["labelled"])
        return cls(extent, data["classes"], data["faults"], data["sha256"])


def faults_to_json(faults: Mapping[int, str]) -> bytes:
    """Canonical bytes of the reasons, ordered by index."""
    return json.dumps(sorted(faults.items()), separators=(",", ":")).encode()


def faults_from_json(data: bytes) -> dict[int, str]:
    """The inverse of `faults_to_json`."""
    return {int(index): str(reason) for index, reason in json.loads(data)}
