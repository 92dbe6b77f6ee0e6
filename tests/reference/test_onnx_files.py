"""Every ONNX file of the shared cases and data imports, and agrees with onnxruntime."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from verifier.models.onnx_graph import import_onnx

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
FILES = sorted(path for folder in ("cases", "reference", "data") for path in (SHARED / folder).rglob("*.onnx"))


@pytest.mark.skipif(not FILES, reason="no ../shared with ONNX files beside this checkout")
@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SHARED)))
def test_file_agrees_with_onnxruntime(path: Path) -> None:
    data = path.read_bytes()
    imported = import_onnx(data)
    session = onnxruntime.InferenceSession(data)
    source = session.get_inputs()[0]
    x = np.random.default_rng(0).random((5, *imported.input_shape)).astype(np.float32)
    rows = x[:, None] if len(source.shape) > len(imported.input_shape) else x
    expected = np.stack([session.run(None, {source.name: row})[0].reshape(-1) for row in rows])
    tolerance = 1e-5 * np.abs(expected).max() + 1e-6
    alone = torch.cat([imported.module(torch.from_numpy(row[None])) for row in x])
    np.testing.assert_allclose(alone.numpy(), expected, rtol=0, atol=tolerance)
    np.testing.assert_allclose(imported.module(torch.from_numpy(x)).numpy(), expected, rtol=0, atol=tolerance)
