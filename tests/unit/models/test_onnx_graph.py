"""Every operator against a reading that is not ours, and every refusal by its name."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from verifier.errors import InvalidProblem, Unsupported, VerifierError
from verifier.models import onnx_file
from verifier.models.onnx_graph import ImportedModel, import_onnx

Array = NDArray[Any]
Constants = Mapping[str, Any]


def draw(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def node(operator: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    """Named after its operator and first output; `-` stands for an optional input that is left out."""
    names = ["" if name == "-" else name for name in inputs.split()]
    return helper.make_node(operator, names, outputs.split(), f"{operator.lower()}_{outputs.split()[0]}", **attributes)


def model(
    nodes: Sequence[Any],
    shape: Sequence[Any],
    constants: Constants | None = None,
    opset: int = 17,
    output: Sequence[Any] = ("N", "K"),
) -> Any:
    graph = helper.make_graph(
        list(nodes),
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, list(output))],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def flat(*nodes: Any) -> list[Any]:
    """Nodes from x to h, then all elements of h as logits."""
    return [*nodes, helper.make_node("Flatten", ["h"], ["y"], name="logits")]


def agrees(proto: Any, runtime: Any | None = None) -> ImportedModel:
    """Import, then compare rows at batch 1 and a batch of 5 with onnxruntime (of the same function, where given)."""
    imported = import_onnx(proto.SerializeToString())
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession((runtime or proto).SerializeToString(), options)
    x = draw(5, *imported.input_shape, seed=7)
    batch_axis = len(session.get_inputs()[0].shape) > len(imported.input_shape)
    expected = [session.run(None, {"x": row[None] if batch_axis else row})[0].reshape(-1) for row in x]
    together = imported.module(torch.from_numpy(x))
    alone = torch.cat([imported.module(torch.from_numpy(row[None])) for row in x])
    assert together.shape == (5, imported.classes)
    np.testing.assert_allclose(together.numpy(), expected, rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(alone.numpy(), expected, rtol=1e-4, atol=2e-5)
    return imported


def refused(proto: Any, *words: str, kind: type[VerifierError] = Unsupported) -> VerifierError:
    with pytest.raises(kind) as caught:
        import_onnx(proto if isinstance(proto, bytes) else proto.SerializeToString())
    for word in words:
        assert word in caught.value.message
    return caught.value


UNARY: list[tuple[str, dict[str, Any], int]] = [
    ("Abs", {}, 6),
    ("Celu", {"alpha": 1.5}, 12),
    ("Clip", {"min": -0.5, "max": 0.25}, 6),
    ("Clip", {"min": 0.0, "max": 6.0}, 10),
    ("Elu", {"alpha": 0.7}, 6),
    ("Erf", {}, 13),
    ("Exp", {}, 13),
    ("Gelu", {}, 20),
    ("Gelu", {"approximate": "tanh"}, 20),
    ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}, 9),
    ("HardSwish", {}, 14),
    ("Identity", {}, 8),
    ("LeakyRelu", {"alpha": 0.2}, 6),
    ("LeakyRelu", {}, 16),
    ("LogSoftmax", {"axis": 2}, 13),
    ("LogSoftmax", {"axis": 1}, 11),
    ("Neg", {}, 6),
    ("Relu", {}, 6),
    ("Relu", {}, 14),
    ("Selu", {}, 6),
    ("Sigmoid", {}, 6),
    ("Sign", {}, 9),
    ("Softmax", {}, 8),
    ("Softmax", {"axis": 2}, 11),
    ("Softmax", {"axis": 3}, 11),
    ("Softmax", {"axis": 1}, 13),
    ("Softmax", {}, 17),
    ("Softplus", {}, 8),
    ("Softsign", {}, 8),
    ("Tanh", {}, 13),
    ("Cast", {"to": 1}, 13),
    ("Dropout", {}, 9),
    ("Dropout", {"ratio": 0.3}, 7),
]


@pytest.mark.parametrize("batch", [1, "N"])
@pytest.mark.parametrize(("operator", "attributes", "opset"), UNARY)
def test_operators_of_one_input(operator: str, attributes: dict[str, Any], opset: int, batch: Any) -> None:
    agrees(model(flat(node(operator, "x", "h", **attributes)), [batch, 2, 3, 2], opset=opset))


@pytest.mark.parametrize("operator", ["Sqrt", "Log", "Reciprocal"])
def test_functions_of_positive_numbers(operator: str) -> None:
    nodes = [node("Exp", "x", "e"), node(operator, "e", "h")]
    agrees(model(flat(*nodes), [1, 4], opset=13))


@pytest.mark.parametrize("opset", [7, 8, 13, 17])
@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 1), (1, 2, 3), (4, 1, 1), (1, 4, 1, 3)], ids=repr)
def test_arithmetic_with_constants(operator: str, shape: tuple[int, ...], opset: int) -> None:
    constant = np.abs(draw(*shape)) + np.float32(0.5)
    for inputs in ("x c", "c x"):
        numerator = "x" if inputs == "x c" else "e"
        nodes = [node("Exp", "x", "e"), node(operator, inputs.replace("x", numerator), "h")]
        agrees(model(flat(*nodes), [1, 4, 2, 3], {"c": constant}, opset))


@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul", "Max", "Min", "Sum"])
def test_arithmetic_of_computed_values(operator: str) -> None:
    nodes = [node("Tanh", "x", "t"), node("ReduceMean", "t", "m", axes=[2]), node(operator, "x m", "h")]
    agrees(model(flat(*nodes), ["N", 3, 4], opset=13))


@pytest.mark.parametrize("opset", [8, 12, 13])
def test_variadic_operators_with_constants(opset: int) -> None:
    constants = {"a": draw(3), "b": draw(2, 3, seed=1)}
    agrees(model(flat(node("Max", "a b x", "h")), [1, 2, 3], constants, opset))
    agrees(model(flat(node("Min", "a x b", "h")), [1, 2, 3], constants, opset))


def test_limited_broadcast_of_the_oldest_version() -> None:
    """Version 6 says by attributes how a constant lines up; onnxruntime no longer reads it, so it runs a newer form."""
    newer = model(flat(node("Add", "x c", "h")), ["N", 3, 2], {"c": draw(2)}, 7)
    for axis in ({}, {"axis": 2}):
        oldest = node("Add", "x c", "h", broadcast=1, **axis)
        agrees(model(flat(oldest), ["N", 3, 2], {"c": draw(2)}, 6), runtime=newer)
    elsewhere = node("Add", "x c", "h", broadcast=1, axis=1)
    refused(model(flat(elsewhere), [1, 3, 2], {"c": draw(3)}, 6), "'add_h'", "axis")


@pytest.mark.parametrize("exponent", [2.0, 3.0, 0.5])
def test_power(exponent: float) -> None:
    nodes = [node("Exp", "x", "e"), node("Pow", "e p", "h")]
    agrees(model(flat(*nodes), [1, 4], {"p": np.float32(exponent)}, 13))


@pytest.mark.parametrize("opset", [11, 13])
def test_clip_with_bounds_as_inputs(opset: int) -> None:
    bounds = {"low": np.float32(-0.2), "high": np.float32(0.4)}
    agrees(model(flat(node("Clip", "x low high", "h")), [1, 6], bounds, opset))
    agrees(model(flat(node("Clip", "x - high", "h")), [1, 6], {"high": bounds["high"]}, opset))


@pytest.mark.parametrize("shape", [(1,), (3, 1, 1), (1, 3, 1, 1)], ids=repr)
def test_prelu(shape: tuple[int, ...]) -> None:
    agrees(model(flat(node("PRelu", "x slope", "h")), [1, 3, 2, 2], {"slope": draw(*shape)}, 13))


@pytest.mark.parametrize("opset", [6, 7, 9, 11, 13])
@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm(transposed: int, opset: int) -> None:
    weight = draw(3, 5) if transposed else draw(5, 3)
    nodes = [node("Gemm", "x w b", "y", transB=transposed, alpha=0.5, beta=2.0)]
    if opset == 6:
        nodes[0].attribute.append(helper.make_attribute("broadcast", 1))
    newer = model(
        [node("Gemm", "x w b", "y", transB=transposed, alpha=0.5, beta=2.0)], ["N", 5], {"w": weight, "b": draw(3)}, 7
    )
    agrees(model(nodes, ["N", 5], {"w": weight, "b": draw(3)}, opset), runtime=newer)


def test_gemm_without_bias() -> None:
    agrees(model([node("Gemm", "x w", "y")], [1, 5], {"w": draw(5, 3)}, 13))


def test_matmul_and_add_are_one_layer() -> None:
    nodes = [node("MatMul", "x w", "h"), node("Add", "h b", "y")]
    imported = agrees(model(nodes, [1, 5], {"w": draw(5, 3), "b": draw(3)}))
    assert [type(layer) for layer in imported.module.children()] == [torch.nn.Linear]
    assert not list(imported.module.buffers())


@pytest.mark.parametrize("shape", [[5], [1, 5, 1], [5, 1]], ids=repr)
def test_matrix_on_the_left(shape: list[int]) -> None:
    nodes = [node("MatMul", "w x", "m"), node("Relu", "m", "r"), node("MatMul", "v r", "y")]
    output = ["K"] if len(shape) < 3 else ["N", "K", 1]
    if shape == [5, 1]:
        refused(model(nodes, shape, {"w": draw(4, 5), "v": draw(3, 4)}, output=["K", 1]), "batch axis")
    else:
        agrees(model(nodes, shape, {"w": draw(4, 5), "v": draw(3, 4)}, output=output))


def test_column_by_transposition() -> None:
    nodes = [
        node("Transpose", "x", "c"),
        node("MatMul", "w c", "m"),
        node("Add", "m b", "s"),
        node("Transpose", "s", "y"),
    ]
    agrees(model(nodes, [1, 5], {"w": draw(4, 5), "b": draw(4, 1)}))


def test_product_of_computed_matrices() -> None:
    nodes = [node("Transpose", "x", "t", perm=[0, 2, 1]), node("MatMul", "x t", "s"), node("Softmax", "s", "p")]
    agrees(model(flat(*nodes, node("MatMul", "p x", "h")), ["N", 3, 4]))


def chooser(data: st.DataObject) -> Callable[[int, int], int]:
    return lambda low, high: data.draw(st.integers(low, high))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.data())
def test_convolutions(data: st.DataObject) -> None:
    choose = chooser(data)
    spatial, group = choose(1, 3), choose(1, 2)
    kernel = [choose(1, 3) for _ in range(spatial)]
    attributes: dict[str, Any] = {"kernel_shape": kernel, "group": group, "strides": [choose(1, 2) for _ in kernel]}
    if data.draw(st.booleans()):
        attributes |= {"pads": [choose(0, 2) for _ in kernel * 2], "dilations": [choose(1, 2) for _ in kernel]}
    else:
        attributes["auto_pad"] = data.draw(st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"]))
    weights = {"w": draw(2 * group, 2, *kernel), "b": draw(2 * group)}
    inputs = data.draw(st.sampled_from(["x w b", "x w"]))
    opset = data.draw(st.sampled_from([6, 8, 11, 17]))
    shape = [1, 2 * group, *(choose(5, 6) for _ in kernel)]
    proto = model(flat(node("Conv", inputs, "h", **attributes)), shape, weights, opset)
    agrees(proto, runtime=model(flat(node("Conv", inputs, "h", **attributes)), shape, weights, 11))


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.integers(1, 2), st.integers(1, 2), st.integers(0, 1), st.integers(1, 2), st.sampled_from([8, 11, 17]))
def test_transposed_convolutions(stride: int, group: int, pad: int, dilation: int, opset: int) -> None:
    attributes = {
        "strides": [stride] * 2,
        "group": group,
        "pads": [pad] * 4,
        "dilations": [dilation] * 2,
        "output_padding": [stride - 1] * 2,
    }
    weights = {"w": draw(2 * group, 2, 3, 3), "b": draw(2 * group)}
    agrees(model(flat(node("ConvTranspose", "x w b", "h", **attributes)), [1, 2 * group, 3, 4], weights, opset))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.data())
def test_pools(data: st.DataObject) -> None:
    choose = chooser(data)
    operator = data.draw(st.sampled_from(["MaxPool", "AveragePool"]))
    kernel = [choose(2, 3) for _ in range(choose(1, 3))]
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": [choose(1, 2) for _ in kernel]}
    attributes["pads"] = [choose(0, 1) for _ in kernel] * 2
    opset = data.draw(st.sampled_from([8, 10, 12, 19]))
    if operator == "MaxPool" and opset >= 10:
        attributes["dilations"] = [choose(1, 2) for _ in kernel]
    if operator == "AveragePool":
        attributes["count_include_pad"] = choose(0, 1)
    agrees(model(flat(node(operator, "x", "h", **attributes)), [1, 2, *(choose(6, 7) for _ in kernel)], opset=opset))


@pytest.mark.parametrize(
    ("operator", "attributes"),
    [
        ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
        ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
        ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
        ("MaxPool", {"kernel_shape": [3, 2], "pads": [0, 1, 1, 0]}),
        ("AveragePool", {"kernel_shape": [2, 2], "pads": [0, 1, 1, 0], "count_include_pad": 1}),
        ("GlobalAveragePool", {}),
        ("GlobalMaxPool", {}),
    ],
    ids=repr,
)
def test_more_pools(operator: str, attributes: dict[str, Any]) -> None:
    agrees(model(flat(node(operator, "x", "h", **attributes)), ["N", 2, 5, 5], opset=12))


@pytest.mark.parametrize("opset", [7, 9, 14, 17])
@pytest.mark.parametrize("shape", [(3,), (3, 4), (3, 2, 2), (3, 2, 2, 2)], ids=repr)
def test_batch_normalization(shape: tuple[int, ...], opset: int) -> None:
    constants = {name: draw(3, seed=seed) for seed, name in enumerate(("s", "b", "m"))}
    constants["v"] = np.abs(draw(3)) + np.float32(0.1)
    agrees(model(flat(node("BatchNormalization", "x s b m v", "h", epsilon=1e-3)), [1, *shape], constants, opset))


def test_batch_normalization_of_version_6() -> None:
    constants = {"s": draw(3), "b": draw(3), "m": draw(3), "v": np.abs(draw(3))}
    oldest = node("BatchNormalization", "x s b m v", "h", is_test=1)
    newer = model(flat(node("BatchNormalization", "x s b m v", "h")), [1, 3, 2], constants, 9)
    agrees(model(flat(oldest), [1, 3, 2], constants, 6), runtime=newer)
    training = node("BatchNormalization", "x s b m v", "h")
    refused(model(flat(training), [1, 3, 2], constants, 6), "batchnormalization_h", "is_test")


def test_other_normalizations() -> None:
    layer = node("LayerNormalization", "x s b", "h", axis=-1, epsilon=1e-3)
    agrees(model(flat(layer), ["N", 3, 4], {"s": draw(4), "b": draw(4, seed=1)}))
    instance = node("InstanceNormalization", "x s b", "h", epsilon=1e-3)
    agrees(model(flat(instance), [1, 3, 4, 4], {"s": draw(3), "b": draw(3, seed=1)}))


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("axes", [[1], [2, 3], [-1]], ids=repr)
@pytest.mark.parametrize(
    ("operator", "opset"),
    [("ReduceMean", 8), ("ReduceMean", 18), ("ReduceSum", 11), ("ReduceSum", 13), ("ReduceMax", 12), ("ReduceMin", 18)],
)
def test_reductions(operator: str, opset: int, axes: list[int], keep: int) -> None:
    if opset >= (13 if operator == "ReduceSum" else 18):
        reduction, constants = node(operator, "x axes", "h", keepdims=keep), {"axes": np.array(axes)}
    else:
        reduction, constants = node(operator, "x", "h", keepdims=keep, axes=axes), {}
    agrees(model(flat(reduction), ["N", 2, 3, 4], constants, opset))


@pytest.mark.parametrize("target", [[1, 12], [-1, 12], [0, -1], [1, 3, 4], [0, 0, -1], [12], [1, -1, 2, 2]], ids=repr)
@pytest.mark.parametrize("opset", [6, 14])
def test_reshape(target: list[int], opset: int) -> None:
    reshape = [node("Reshape", "x shape", "h"), node("Reshape", "h back", "y")]
    agrees(model(reshape, [1, 2, 6], {"shape": np.array(target), "back": np.array([1, 12])}, opset))


def test_reshape_by_the_size_of_the_batch() -> None:
    """What exporters write for x.view(x.size(0), -1)."""
    nodes = [
        node("Shape", "x", "s"),
        helper.make_node("Constant", [], ["zero"], value=numpy_helper.from_array(np.array(0))),
        node("Gather", "s zero", "n", axis=0),
        node("Unsqueeze", "n first", "u"),
        node("Concat", "u rest", "shape", axis=0),
        node("Reshape", "x shape", "y"),
    ]
    imported = agrees(model(nodes, ["N", 2, 3], {"first": np.array([0]), "rest": np.array([-1])}, 13))
    assert [n.op for n in imported.module.graph.nodes] == ["placeholder", "call_function", "output"]


@pytest.mark.parametrize("perm", [[0, 2, 1, 3], [0, 2, 3, 1], [0, 1, 2, 3], [1, 0, 2, 3], [3, 2, 1, 0]], ids=repr)
def test_transpose(perm: list[int]) -> None:
    nodes = [node("Transpose", "x", "h", perm=perm), node("Reshape", "h shape", "y")]
    agrees(model(nodes, [1, 2, 3, 4], {"shape": np.array([1, 24])}))


@pytest.mark.parametrize("opset", [8, 11, 13])
def test_squeeze_and_unsqueeze(opset: int) -> None:
    for operator, axes, shape in [
        ("Squeeze", [2], [1, 3, 1, 2]),
        ("Unsqueeze", [1, 3], [1, 3, 2]),
        ("Unsqueeze", [0], [6]),
    ]:
        shaped = node(operator, "x axes", "h") if opset >= 13 else node(operator, "x", "h", axes=axes)
        output = ["N", "K"] if len(shape) > 1 else ["K"]
        constants = {"axes": np.array(axes)} if opset >= 13 else {}
        nodes = flat(shaped) if len(shape) > 1 else [shaped, node("Squeeze", "h", "y")]
        agrees(model(nodes, shape, constants, opset, output))


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_concat_and_split(axis: int) -> None:
    nodes = [node("Split", "x", "a b", axis=axis), node("Relu", "a", "r"), node("Concat", "r b r", "h", axis=axis)]
    agrees(model(flat(*nodes), ["N", 2, 4], opset=11))
    sized = node("Split", "x sizes", "a b", axis=2)
    agrees(
        model(flat(sized, *nodes[1:2], node("Concat", "b r", "h", axis=2)), [1, 2, 4], {"sizes": np.array([1, 3])}, 13)
    )


@pytest.mark.parametrize(
    ("starts", "ends", "axes", "steps"),
    [
        ([1], [3], [2], [1]),
        ([0, 1], [2**31 - 1, -1], [1, 2], [1, 2]),
        ([-3], [2**63 - 1], [-1], [1]),
        ([0], [2**63 - 1], [0], [1]),
    ],
    ids=repr,
)
@pytest.mark.parametrize("opset", [9, 13])
def test_slice(starts: list[int], ends: list[int], axes: list[int], steps: list[int], opset: int) -> None:
    if opset < 10:
        part, constants = node("Slice", "x", "h", starts=starts, ends=ends, axes=axes), {}
    else:
        part = node("Slice", "x starts ends axes steps", "h")
        constants = {
            "starts": np.array(starts),
            "ends": np.array(ends),
            "axes": np.array(axes),
            "steps": np.array(steps),
        }
    agrees(model(flat(part), [1, 3, 5], constants, opset))


@pytest.mark.parametrize("indices", [1, -1, [0, 2], [1, 2], [2, 0, 0]], ids=repr)
def test_gather(indices: Any) -> None:
    agrees(model(flat(node("Gather", "x i", "h", axis=2)), ["N", 2, 3], {"i": np.array(indices)}))


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
@pytest.mark.parametrize("opset", [8, 11, 18])
def test_pad(mode: str, opset: int) -> None:
    pads = [0, 0, 1, 2, 0, 0, 0, 1]
    if opset < 11:
        padded, constants = node("Pad", "x", "h", mode=mode, pads=pads), {}
    else:
        padded, constants = node("Pad", "x pads", "h", mode=mode), {"pads": np.array(pads)}
    agrees(model(flat(padded), [1, 2, 4, 4], constants, opset))


def test_pad_with_a_value_on_chosen_axes() -> None:
    constants = {"pads": np.array([1, 2]), "value": np.float32(0.5), "axes": np.array([1])}
    agrees(model(flat(node("Pad", "x pads value axes", "h")), ["N", 2, 3], constants, 18))


@pytest.mark.parametrize("opset", [7, 9, 11, 13])
def test_nearest_neighbours(opset: int) -> None:
    scales = np.array([1, 1, 2, 3], np.float32)
    rounding = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    if opset == 7:
        larger = node("Upsample", "x", "h", scales=scales.tolist())
    elif opset == 9:
        larger = node("Upsample", "x scales", "h")
    else:
        larger = node("Resize", "x roi scales" if opset == 11 else "x - scales", "h", **rounding)
    constants = {"scales": scales} | ({"roi": draw(0)} if opset == 11 else {})
    agrees(model(flat(larger), [1, 2, 3, 3], {} if opset == 7 else constants, opset))


def test_a_row_without_batch_axis() -> None:
    nodes = [node("Unsqueeze", "x", "b", axes=[0]), node("Conv", "b w", "c"), node("Reshape", "c shape", "y")]
    agrees(model(nodes, [2, 3, 3], {"w": draw(3, 2, 2, 2), "shape": np.array([12])}, 11, output=[12]))


def test_the_graph_is_canonical() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="/features/0/Conv", pads=[1, 1, 1, 1]),
        helper.make_node("Identity", ["c"], ["i"]),
        helper.make_node("Dropout", ["i"], ["d"]),
        helper.make_node("Relu", ["d"], ["7"]),
        helper.make_node("Flatten", ["7"], ["f"], name="class"),
        helper.make_node("Gemm", ["f", "v"], ["y"], name="train"),
    ]
    imported = agrees(model(nodes, [1, 1, 2, 2], {"w": draw(2, 1, 3, 3), "v": draw(8, 3)}))
    assert [n.name for n in imported.module.graph.nodes] == [
        "x",
        "features_0_Conv",
        "Relu_7",
        "class_1",
        "train_1",
        "output",
    ]
    assert [n.op for n in imported.module.graph.nodes][1:4] == ["call_module", "call_module", "call_function"]
    assert not imported.module.training
    assert not any(parameter.requires_grad for parameter in imported.module.parameters())
    assert imported.input_shape == (1, 2, 2)
    assert imported.classes == 3
    assert 0 <= imported.reference_difference < 1e-4


def test_the_reading_is_a_function_of_the_bytes() -> None:
    data = model([node("Gemm", "x w", "y")], [1, 5], {"w": draw(5, 3)}).SerializeToString()
    state = torch.random.get_rng_state()
    first, second = import_onnx(data), import_onnx(data)
    assert first.reference_difference == second.reference_difference
    assert torch.equal(torch.random.get_rng_state(), state)


# Refusals

GEMM = [helper.make_node("Gemm", ["x", "w"], ["y"], name="last")]
WEIGHT = {"w": draw(4, 3)}


def gemm() -> Any:
    return model(GEMM, [1, 4], WEIGHT)


@pytest.mark.parametrize(
    "data", [b"", b"garbage", b"\x00" * 100, b"\x89PNG\r\n\x1a\n" * 9, bytes(range(256))], ids=repr
)
def test_what_is_no_onnx_is_invalid(data: bytes) -> None:
    error = refused(data, "expected a valid ONNX model", kind=InvalidProblem)
    assert error.violations[0].field == "model"


def test_a_truncated_file_is_invalid() -> None:
    data = gemm().SerializeToString()
    for length in range(0, len(data) - 1, 7):
        refused(data[:length], kind=InvalidProblem)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_a_damaged_file_is_read_or_refused(data: st.DataObject) -> None:
    damaged = bytearray(gemm().SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        imported = import_onnx(bytes(damaged))
    except (InvalidProblem, Unsupported):
        return
    assert imported.module(torch.zeros(2, *imported.input_shape)).shape == (2, imported.classes)


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "MAX_BYTES", 10)
    refused(gemm(), "at most 10 bytes")
    monkeypatch.undo()
    monkeypatch.setattr(onnx_file, "MAX_NODES", 0)
    refused(gemm(), "at most 0 nodes")
    monkeypatch.undo()
    monkeypatch.setattr(onnx_file, "MAX_ELEMENTS", 5)
    refused(gemm(), "at most 5 elements, got 12")


def test_external_data() -> None:
    proto = gemm()
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")
    refused(proto, "'w'", "external data")


def test_custom_operators_and_functions() -> None:
    custom = helper.make_node("Certify", ["x"], ["y"], name="mine", domain="org.example")
    refused(model([custom], [1, 4]), "'mine'", "Certify", "org.example")
    proto = gemm()
    proto.functions.append(helper.make_function("local", "F", ["a"], ["b"], GEMM[:0], [helper.make_opsetid("", 17)]))
    refused(proto, "functions", "'F'")


def test_control_flow() -> None:
    body = helper.make_graph(GEMM, "body", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    branch = helper.make_node("If", ["c"], ["y"], name="fork", then_branch=body, else_branch=body)
    refused(model([branch], [1, 4], {**WEIGHT, "c": np.array(True)}), "'fork'", "(If)", "control flow")
    loop = helper.make_node("Loop", ["", "", "x"], ["y"], name="again", body=body)
    refused(model([loop], [1, 4], WEIGHT), "'again'", "(Loop)", "control flow")


def test_unsupported_operators_and_attributes_are_named() -> None:
    refused(model([node("Det", "x", "y")], [1, 3, 3]), "'det_y'", "(Det)", "operator Det")
    refused(model([node("Gemm", "x w", "y", transA=1)], [1, 4], {"w": draw(1, 3)}), "'gemm_y'", "transA")
    resize = node("Resize", "x - s", "h", mode="linear")
    refused(model(flat(resize), [1, 1, 2, 2], {"s": np.ones(4, np.float32)}), "'resize_h'", "mode", "linear")
    unnamed = helper.make_node("Det", ["x"], ["y"])
    refused(model([unnamed], [1, 3, 3]), "computing 'y' (Det)")


def test_optional_outputs_are_not_read() -> None:
    nodes = [node("MaxPool", "x", "a i", kernel_shape=[2]), node("Cast", "i", "h", to=1)]
    refused(model(flat(*nodes), [1, 2, 4]), "'cast_h'", "'i'")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_must_be_finite(value: float) -> None:
    refused(model(GEMM, [1, 4], {"w": np.full((4, 3), value, np.float32)}), "initializer 'w'", "finite")
    constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.array([value], np.float32)))
    refused(model([constant, node("Add", "x c", "y")], [1, 4]), "'add_y'", "finite")


def test_one_input_and_one_output() -> None:
    proto = gemm()
    proto.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1]))
    refused(proto, "one input and one output", "'z'")
    proto = gemm()
    proto.graph.output.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4]))
    refused(proto, "one input and one output", "'y', 'x'")


def test_datatypes() -> None:
    proto = gemm()
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    refused(proto, "'x'", "must be float32", "DOUBLE")
    refused(model(GEMM, [1, 4], {"w": draw(4, 3).astype(np.float16)}), "'w'", "FLOAT16")
    refused(model(GEMM, [1, 4], {"w": draw(4, 3).astype(np.float64)}), "'last'", "float64")
    proto = gemm()
    proto.graph.input[0].CopyFrom(helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, [1, 4]))
    refused(proto, kind=VerifierError)


@pytest.mark.parametrize("shape", [[5, 4], [1, "n"], ["N"], [1], []], ids=repr)
def test_inputs_whose_rows_are_not_clear(shape: list[Any]) -> None:
    refused(model([node("Relu", "x", "y")], shape), "input 'x'")


@pytest.mark.parametrize(
    "nodes",
    [
        [node("ReduceMean", "x", "y", axes=[0])],
        [node("ReduceSum", "x", "y")],
        [node("Softmax", "x", "y", axis=0)],
        [node("Concat", "x x", "y", axis=0)],
        [node("Gather", "x zero", "y", axis=0)],
        [node("Add", "x column", "y")],
    ],
    ids=lambda nodes: str(nodes[0].op_type),
)
def test_nothing_works_along_the_batch_axis(nodes: list[Any]) -> None:
    refused(model(nodes, ["N", 4], {"zero": np.array(0), "column": draw(3, 1)}), "batch axis", f"{nodes[0].op_type})")


def test_rows_that_mix_in_a_batch_are_found_by_measuring() -> None:
    """The batch axis is moved away, softmaxed over, and moved back: at batch 1 nothing shows."""
    nodes = [
        node("Transpose", "x", "t"),
        node("Softmax", "t", "s", axis=1),
        node("Transpose", "s", "b"),
        node("Mul", "b x", "y"),
    ]
    error = refused(model(nodes, ["N", 4]), "reference on a batch")
    assert error.reason == "IMPORT_MISMATCH"


def test_huge_constants_are_refused_before_they_exist() -> None:
    filled = [node("ConstantOfShape", "s", "c"), node("Add", "x c", "y")]
    refused(model(filled, [1, 4], {"s": np.array([2**40])}), "'constantofshape_c'", "at most")
    expanded = [node("Expand", "one s", "c"), node("Add", "x c", "y")]
    refused(model(expanded, [1, 4], {"one": draw(1), "s": np.array([2**20, 2**20])}), "'expand_c'", "at most")
    outer = [node("Add", "a b", "c"), node("Add", "x c", "y")]
    refused(model(outer, [1, 4], {"a": draw(2**15, 1), "b": draw(1, 2**15)}), "'add_c'", "at most")
    padded = node("Pad", "x pads", "h")
    refused(model(flat(padded), [1, 4], {"pads": np.array([0, 0, 0, 2**25])}), "'pad_h'", "at most")
    refused(model(flat(node("Relu", "x", "h")), [1, 2**25]), "one input", "at most")


def test_constants_that_overflow_are_refused() -> None:
    scaled = node("Gemm", "x w", "y", alpha=1e38)
    refused(model([scaled], [1, 4], {"w": 100 * np.ones((4, 3), np.float32)}), "'gemm_y'", "finite")


def test_classifiers_only() -> None:
    refused(model([node("Gemm", "x w", "y")], [1, 4], {"w": draw(4, 1)}), "at least 2")
    refused(model([node("Relu", "x", "y")], [1, 2, 3], output=["N", 2, 3]), "one logit a class")
    refused(model([node("Neg", "w", "y")], [1, 4], WEIGHT), "'y'", "must depend on the input")


def test_operator_sets() -> None:
    proto = gemm()
    proto.opset_import[0].version = 5
    refused(proto, "version 6 to", "got 5")
    proto.opset_import[0].version = onnx.defs.onnx_opset_version() + 1
    refused(proto, "got")


def test_weights_that_do_not_fit_are_invalid() -> None:
    refused(model(GEMM, [1, 5], WEIGHT), "'last'", kind=InvalidProblem)
    conv = node("Conv", "x w", "h", kernel_shape=[3, 3])
    refused(model(flat(conv), [1, 1, 4, 4], {"w": draw(2, 1, 2, 2)}), "'conv_h'", kind=InvalidProblem)


def test_logits_must_be_finite() -> None:
    error = refused(model([node("Sqrt", "x", "y")], [1, 40]), "finite")
    assert error.reason == "IMPORT_MISMATCH"
