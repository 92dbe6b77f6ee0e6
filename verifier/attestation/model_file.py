"""From a model's file to its digest, for attestations that hold no manifest. This, and only this, needs torch."""

from pathlib import Path

from verifier.errors import InvalidProblem, Unsupported
from verifier.model import ModelFormat, ModelSource


def model_digest_of(path: Path, source: ModelSource | None = None) -> str:
    """The digest under which a server registers this file.

    The bytes alone do not say which function they are, so the file is read and rehearsed as at registration, by this
    version's converter. `signing.verify` with `model_file` needs neither, where the attestation holds the manifest.

    Args:
        path: of the file, ONNX or safetensors.
        source: how it was registered (architecture, normalisation, range of inputs); None: plain ONNX.
    Raises:
        InvalidProblem: no readable model file.
        Unsupported: an operator of it, or torch is not installed.
    """
    try:
        import torch

        from verifier.models.loading import load
    except ImportError as error:
        raise Unsupported(
            f"a model's digest follows from its file only with {error.name}, which is not installed: "
            "pip install 'verifier[server]', or give the digest itself"
        ) from None
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidProblem(f"cannot read {str(path)!r}: {error.strerror or error}", field="model") from None
    return load(data, source or ModelSource(ModelFormat.ONNX), torch.device("cpu")).manifest.digest
