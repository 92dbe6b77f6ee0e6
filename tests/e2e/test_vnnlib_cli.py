"""`verifier vnnlib` as a user runs it: the answers of the competition, on a network made here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from verifier.vnnlib.result import Answer, from_text

PROPERTY = """
(declare-const X_0 Real) (declare-const X_1 Real)
(declare-const Y_0 Real) (declare-const Y_1 Real)
(assert (>= X_0 -1)) (assert (<= X_0 1)) (assert (>= X_1 -1)) (assert (<= X_1 1))
(assert {condition})
"""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Y_0 = relu(X_0 + X_1), Y_1 = X_0 - X_1, as .onnx."""
    onnx = pytest.importorskip("onnx")
    helper, tensor = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"], transB=1),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "v"], ["y"], transB=1),
    ]
    weights = [("w", (3, 2), [1, 1, 1, -1, -1, 1]), ("v", (2, 3), [1, 0, 0, 0, 1, -1])]
    graph = helper.make_graph(
        nodes,
        "fold",
        [helper.make_tensor_value_info("x", tensor, [1, 2])],
        [helper.make_tensor_value_info("y", tensor, [1, 2])],
        [helper.make_tensor(name, tensor, shape, values) for name, shape, values in weights],
    )
    path = tmp_path_factory.mktemp("vnnlib") / "fold.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "verifier", "vnnlib", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("condition", "answer"),
    [
        ("(>= Y_0 2.5)", Answer.UNSAT),
        ("(<= Y_1 -1.9)", Answer.SAT),
        ("(and (>= Y_1 0.1) (<= Y_1 -0.1))", Answer.UNKNOWN),
        ("(or (>= Y_0 2.5) (>= Y_1 2.5))", Answer.UNSAT),
    ],
)
def test_answers(network: Path, tmp_path: Path, condition: str, answer: Answer) -> None:
    specification, out = tmp_path / "p.vnnlib", tmp_path / "result.txt"
    specification.write_text(PROPERTY.format(condition=condition))
    done = run(network, specification, "--method", "crown", "--timeout", "60", "--out", out)
    assert done.returncode == 0, done.stderr
    assert out.read_text() == done.stdout
    result = from_text(done.stdout)
    assert result.answer is answer
    if result.counterexample is not None:
        x = torch.tensor(result.counterexample.x)
        first = nn.functional.relu(torch.tensor([[1.0, 1], [1, -1], [-1, 1]]) @ x)
        y = torch.tensor([[1.0, 0, 0], [0, 1, -1]]) @ first
        assert torch.allclose(y, torch.tensor(result.counterexample.y))
        assert float(y[1]) <= -1.9


def test_json_and_errors(network: Path, tmp_path: Path) -> None:
    specification = tmp_path / "p.vnnlib"
    specification.write_text(PROPERTY.format(condition="(>= Y_0 2.5)"))
    facts = json.loads(run(network, specification, "--json").stdout)
    assert (facts["answer"], facts["cases"], facts["refuted"]) == ("unsat", 1, 1)
    specification.write_text(PROPERTY.format(condition="(>= Z_0 2.5)"))
    refused = run(network, specification)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: ")
    assert "Traceback" not in refused.stderr
    missing = run(tmp_path / "none.onnx", specification)
    assert (missing.returncode, missing.stdout) == (2, "")
