"""The API as written, as generated, and as its linter wants it."""

import re
import shutil
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROTOS = sorted((ROOT / "protos/verifier/v1").glob("*.proto"))
SERVICES = [proto for proto in PROTOS if re.search(r"^service ", proto.read_text(), re.MULTILINE)]


def protoc(*arguments: str | Path) -> None:
    """Run grpcio-tools' protoc on our tree."""
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", ROOT / "protos", *arguments]
    subprocess.run(command, check=True)


def test_stubs_are_generated_from_the_protos(tmp_path: Path) -> None:
    (pinned,) = re.findall(r"^grpcio-tools==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    installed = metadata.version("grpcio-tools")
    if installed != pinned:
        pytest.skip(f"verifier/v1 is written by grpcio-tools {pinned}, installed: {installed}")
    protoc(f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", *PROTOS)
    protoc(f"--grpc_python_out={tmp_path}", *SERVICES)
    fresh = {path.name: path.read_bytes() for path in (tmp_path / "verifier/v1").iterdir()}
    stubs = {path.name: path.read_bytes() for path in (ROOT / "verifier/v1").glob("*_pb2*")}
    assert fresh.keys() == stubs.keys()
    assert [name for name in fresh if fresh[name] != stubs[name]] == [], "run make protos"


@pytest.mark.parametrize("arguments", [["lint"], ["format", "-d", "--exit-code"]], ids=" ".join)
def test_buf_is_content(arguments: list[str]) -> None:
    buf = shutil.which("buf", path=sysconfig.get_path("scripts"))
    if buf is None:
        pytest.skip("buf is not installed: pip install 'verifier[dev]'")
    answer = subprocess.run([buf, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr
