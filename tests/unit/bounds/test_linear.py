"""Every linear map against the matrix that it stands for, exactly, on small whole numbers."""

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from verifier.bounds.linear import Convolution, Dense, LinearMap, Scale, Shape, Transposed
from verifier.bounds.moves import Permutation, Selection, Total, View, positions

map_settings = settings(deadline=None, max_examples=25, derandomize=True, database=None)
CPU = torch.device("cpu")


def whole(shape: Sequence[int], seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-4, 5, tuple(shape), generator=generator).double()


def matrix(linear: LinearMap) -> Tensor:
    """W, [out elements, in elements]."""
    size = math.prod(linear.in_shape)
    columns = linear.forward(torch.eye(size, dtype=torch.float64).reshape(size, *linear.in_shape))
    return columns.reshape(size, -1).T


@st.composite
def denses(draw: st.DrawFn) -> LinearMap:
    inputs, outputs, seed = draw(st.integers(1, 5)), draw(st.integers(1, 5)), draw(st.integers(0, 99))
    return Dense(whole((outputs, inputs), seed), (*draw(st.sampled_from([(), (2,), (2, 3)])), inputs))


@st.composite
def convolutions(draw: st.DrawFn) -> Convolution:
    axes, groups = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    sizes = st.tuples(*[st.integers(1, 3)] * axes)
    kernel, stride, dilation = draw(sizes), draw(sizes), draw(sizes)
    padding = draw(st.tuples(*[st.integers(0, 2)] * axes))
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    extra = draw(st.tuples(*[st.integers(0, 4)] * axes))
    sides = [max(1, r - 2 * p + e) for r, p, e in zip(reach, padding, extra, strict=True)]
    inputs, outputs = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    weight = whole((outputs, inputs // groups, *kernel), draw(st.integers(0, 99)))
    return Convolution(weight, (inputs, *sides), stride, padding, dilation, groups)


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    return tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))


@st.composite
def scales(draw: st.DrawFn) -> LinearMap:
    shape = draw(shapes())
    factor = [size if draw(st.booleans()) else 1 for size in shape]
    return Scale(whole(factor, draw(st.integers(0, 99))), shape)


@st.composite
def totals(draw: st.DrawFn) -> LinearMap:
    shape = draw(shapes())
    axes = draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
    return Total(shape, tuple(sorted(axes)))


@st.composite
def moves(draw: st.DrawFn) -> LinearMap:
    shape = draw(shapes())
    elements = math.prod(shape)
    kind = draw(st.integers(0, 2))
    if kind == 0:
        return View(shape, (elements, 1))
    if kind == 1:
        return Permutation(shape, tuple(draw(st.permutations(range(len(shape))))))
    places = draw(st.lists(st.integers(-1, elements - 1), min_size=1, max_size=12))
    return Selection(shape, torch.tensor(places).reshape(1, -1))


FAMILIES: dict[str, st.SearchStrategy[LinearMap]] = {
    "dense": denses(),
    "convolution": convolutions(),
    "transposed": convolutions().map(Transposed),
    "scale": scales(),
    "total": totals(),
    "moves": moves(),
}


@pytest.mark.parametrize("family", FAMILIES)
@map_settings
@given(st.data())
def test_all_directions_are_those_of_one_matrix(family: str, data: st.DataObject) -> None:
    linear = data.draw(FAMILIES[family])
    x, a = whole((2, *linear.in_shape), 1), whole((3, *linear.out_shape), 2)
    weight = matrix(linear)
    assert torch.equal(linear.forward(x).reshape(2, -1), x.reshape(2, -1) @ weight.T)
    assert torch.equal(linear.backward(a).reshape(3, -1), a.reshape(3, -1) @ weight)
    assert torch.equal(linear.forward_abs(x).reshape(2, -1), x.reshape(2, -1) @ weight.abs().T)
    assert torch.equal(linear.forward_squared(x).reshape(2, -1), x.reshape(2, -1) @ weight.square().T)
    assert linear.forward(x).shape == (2, *linear.out_shape)
    assert linear.backward(a).shape == (3, *linear.in_shape)


@pytest.mark.parametrize("family", FAMILIES)
@map_settings
@given(st.data())
def test_sums_are_no_longer_than_stated(family: str, data: st.DataObject) -> None:
    linear = data.draw(FAMILIES[family])
    used = matrix(linear) != 0
    longest, longest_back = int(used.sum(1).max()), int(used.sum(0).max())
    if linear.terms == 0:
        assert longest <= 1
        assert set(matrix(linear).flatten().tolist()) <= {0.0, 1.0}
    else:
        assert longest <= linear.terms
    assert longest_back <= max(1, linear.backward_terms)


@pytest.mark.parametrize("family", ["dense", "convolution", "scale"])
@map_settings
@given(st.data())
def test_scaled_maps_are_the_map_and_a_factor_per_output(family: str, data: st.DataObject) -> None:
    linear = data.draw(FAMILIES[family])
    assert isinstance(linear, Dense | Convolution | Scale)
    per_channel = (linear.out_shape[0], *[1] * (len(linear.out_shape) - 1))
    shape: Sequence[int] = data.draw(st.sampled_from([(), per_channel, linear.out_shape]))
    factor = whole(shape, 3)
    scaled = linear.scaled(factor)
    if scaled is not None:
        x = whole((2, *linear.in_shape), 1)
        assert torch.equal(scaled.forward(x), linear.forward(x) * factor)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Dense(whole((2, 3), 0), (3,)),
        lambda: Scale(whole((3,), 0), (3,)),
        lambda: Transposed(Convolution(whole((2, 2, 2), 0), (2, 4), (1,), (0,), (1,), 1)),
        lambda: Total((2, 3), (1,)),
        lambda: View((2, 3), (6,)),
        lambda: Permutation((2, 3), (1, 0)),
        lambda: Selection((3,), torch.tensor([0, -1, 2])),
    ],
)
def test_other_datatypes_give_the_same(make: Callable[[], LinearMap]) -> None:
    linear = make()
    x = whole((2, *linear.in_shape), 1)
    moved = linear.to(CPU, torch.float32)
    assert torch.equal(moved.forward(x.float()).double(), linear.forward(x))
    assert moved.forward(x.float()).dtype == torch.float32


def test_selections_bring_in_zeros_whatever_is_elsewhere() -> None:
    selection = Selection((2,), torch.tensor([1, -1]))
    assert selection.forward(torch.tensor([[torch.nan, 3.0]])).tolist() == [[3.0, 0.0]]
    assert selection.backward(torch.tensor([[2.0, torch.inf]])).tolist() == [[0.0, 2.0]]
    assert selection.backward_terms == 0
    assert Selection((2,), torch.tensor([1, 1, 0])).backward_terms == 2


def test_positions_count_the_elements() -> None:
    assert positions((2, 3)).tolist() == [[[0, 1, 2], [3, 4, 5]]]
