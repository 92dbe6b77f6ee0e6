"""Keyed normals: the right bits, the right numbers, and the same ones whatever is drawn around them."""

import dataclasses
import itertools
import math

import mpmath
import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from verifier.methods import Rng
from verifier.seeds import Phase, Stream
from verifier.smoothing.streams import (
    CUDA_CHUNK_ROWS,
    AesBoxMuller,
    CudaPhilox,
    Draw,
    _box_muller,
    default_rng,
    make_normals,
)

CPU = torch.device("cpu")
CUDA = torch.device("cuda")
STREAM = Stream(seed=7, input_digest="ab" * 32, index=3, phase=Phase.ESTIMATE)
INT_MIN, INT_MAX = -(2**31), 2**31 - 1
ULP = 2.0**-23
"""Twice the largest relative error of one rounding to float32."""

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")

Words = NDArray[np.int32]
Floats = NDArray[np.float64]


def rows_of(stream: Stream, first: int, rows: int, dim: int, capacity: int | None = None) -> torch.Tensor:
    """Some rows, drawn alone."""
    return AesBoxMuller(dim, capacity or rows, CPU).fill([Draw(stream, first, rows)])[:rows].clone()


def reference_words(stream: Stream, first: int, rows: int, dim: int) -> Words:
    """Words [rows, dim rounded up to 4]: counter blocks enciphered one by one, without a mode of operation."""
    key = stream.key()
    blocks = math.ceil(dim / 4)
    start = int.from_bytes(key[16:], "big") + first * blocks
    plain = b"".join(((start + i) % 2**128).to_bytes(16, "big") for i in range(rows * blocks))
    cipher = Cipher(algorithms.AES(key[:16]), modes.ECB()).encryptor()
    return np.frombuffer(cipher.update(plain), dtype="<i4").reshape(rows, blocks * 4)


def reference_normals(words: Words) -> tuple[Floats, Floats]:
    """Box and Muller in float64, and what float32 may differ by.

    Roundings of the radius: of k (1/2 ulp), of k + 1/2 (1/2 ulp), then 2 ulp of the logarithm and 1/2 of the root.
    The first two move -2 ln u by 2 ulp of *one*, which is all of it where u is near 1. Of the angle: k, the constant
    and the product, 1/2 ulp each of at most pi; 2 ulp of the cosine, of one; 1/2 ulp of the last product.
    """
    half = words.shape[1] // 2
    k, turn = words[:, :half].astype(np.float64), words[:, half:].astype(np.float64)
    square = -2 * np.log(np.abs(k + 0.5) / 2**31)
    radius, angle = np.sqrt(square), math.pi * turn / 2**31
    spread = 2 * ULP + 2 * ULP * square
    radius_error = np.sqrt(square + spread) - np.sqrt(np.maximum(square - spread, 0)) + ULP * radius
    angle_error = (1.5 * math.pi + 2) * ULP
    normals = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    errors = np.concatenate([radius_error + (radius + radius_error) * (angle_error + ULP)] * 2, axis=1)
    return normals, errors


# -- against an independent computation


@pytest.mark.parametrize("dim", [1, 2, 3, 4, 5, 8, 30, 784], ids=repr)
@pytest.mark.parametrize("first", [0, 1, 63, 2**40 - 5], ids=repr)
def test_rows_are_the_reference(dim: int, first: int) -> None:
    expected, error = reference_normals(reference_words(STREAM, first, 5, dim))
    drawn = rows_of(STREAM, first, 5, dim).double().numpy()
    assert drawn.shape == (5, dim)
    assert (np.abs(drawn - expected[:, :dim]) <= error[:, :dim]).all()


def test_words_are_the_reference_to_the_bit() -> None:
    source = AesBoxMuller(10, 40, CPU)
    source._keystream(Draw(STREAM, 9, 37), 2)
    assert (source._bits[2:39].numpy() == reference_words(STREAM, 9, 37, 10)).all()


def test_counter_wraps_at_128_bits() -> None:
    left = 2**128 - int.from_bytes(STREAM.key()[16:], "big")  # blocks until the counter wraps, one block a row
    drawn = rows_of(STREAM, left - 2, 4, 4).double().numpy()
    expected, error = reference_normals(reference_words(STREAM, left - 2, 4, 4))
    assert (np.abs(drawn - expected) <= error).all()


def test_the_reference_is_right_to_50_digits() -> None:
    extreme = [0, -1, 1, 12345, 2**24 + 1, 2**30, INT_MAX - 1, INT_MIN]
    turns = [0, -1, 2**29, 2**30, -(2**30), 3, INT_MAX, INT_MIN]
    words = np.array([[*extreme, *turns]], dtype=np.int32)
    normals, _ = reference_normals(words)
    with mpmath.workdps(50):
        for i, (k, turn) in enumerate(zip(extreme, turns, strict=True)):
            radius = mpmath.sqrt(-2 * mpmath.log(abs(mpmath.mpf(k) + 0.5) / 2**31))
            angle = mpmath.pi * turn / 2**31
            assert abs(radius * mpmath.cos(angle) - normals[0, i]) < 1e-14
            assert abs(radius * mpmath.sin(angle) - normals[0, 8 + i]) < 1e-14


# -- extreme words


@pytest.mark.parametrize("turn", [0, -1, 1, 2**30, -(2**30), INT_MAX, INT_MIN], ids=repr)
@pytest.mark.parametrize("k", [0, -1, 1, -2, 2**24, 2**24 + 1, INT_MAX - 64, INT_MAX, INT_MIN], ids=repr)
def test_extreme_words_give_finite_numbers(k: int, turn: int) -> None:
    words = np.array([[k, turn]], dtype=np.int32)
    normals = torch.from_numpy(words).to(torch.float32)
    _box_muller(normals, torch.empty((1, 1)))
    expected, error = reference_normals(words)
    assert normals.isfinite().all()
    assert float(normals.abs().max()) <= 6.67
    assert (np.abs(normals.double().numpy() - expected) <= error).all()


def test_smallest_uniform_reaches_the_documented_end() -> None:
    normals = torch.tensor([[0.0, 0.0]])  # u = 2^-32, angle 0
    _box_muller(normals, torch.empty((1, 1)))
    assert float(normals[0, 0]) == pytest.approx(math.sqrt(64 * math.log(2)), rel=4 * ULP)
    assert 6.66 < float(normals[0, 0]) <= 6.67


@given(st.lists(st.integers(INT_MIN, INT_MAX), min_size=8, max_size=8))
def test_any_words_give_finite_numbers(words: list[int]) -> None:
    normals = torch.tensor([words], dtype=torch.int32).to(torch.float32)
    _box_muller(normals, torch.empty((1, 4)))
    assert normals.isfinite().all()
    assert float(normals.abs().max()) <= 6.67


# -- the same rows whatever is drawn around them


@st.composite
def cut_rows(draw: st.DrawFn) -> tuple[int, list[Draw]]:
    """Up to three streams' rows, cut anywhere, in any order."""
    dim = draw(st.sampled_from([1, 2, 3, 4, 5, 7, 8, 17, 33, 100]))
    draws: list[Draw] = []
    for index in range(draw(st.integers(1, 3))):
        stream = dataclasses.replace(STREAM, index=index)
        position = draw(st.integers(0, 100))
        for rows in draw(st.lists(st.integers(1, 40), min_size=1, max_size=5)):
            draws.append(Draw(stream, position, rows))
            position += rows
    return dim, draw(st.permutations(draws))


@settings(deadline=None, max_examples=60)
@given(cut_rows(), st.integers(0, 5))
def test_any_cut_order_and_company_gives_the_same_bits(case: tuple[int, list[Draw]], spare: int) -> None:
    dim, draws = case
    total = sum(draw.rows for draw in draws)
    together = AesBoxMuller(dim, total + spare, CPU).fill(draws)
    row = 0
    for draw in draws:
        alone = AesBoxMuller(dim, 1, CPU)
        for number in range(draw.rows):
            expected = alone.fill([Draw(draw.stream, draw.first + number, 1)])[0]
            assert torch.equal(together[row], expected)
            row += 1
    assert row == total


@pytest.mark.parametrize("dim", [784, 3072, 3 * 224 * 224], ids=repr)
def test_large_batches_draw_the_same_bits_as_single_rows(dim: int) -> None:
    rows = 100 if dim < 10_000 else 6  # beyond what one thread of torch takes at once
    together = rows_of(STREAM, 5, rows, dim)
    for row in (0, 1, rows // 2, rows - 1):
        assert torch.equal(together[row], rows_of(STREAM, 5 + row, 1, dim)[0])


def test_two_calls_draw_the_same() -> None:
    source = AesBoxMuller(9, 20, CPU)
    first = source.fill([Draw(STREAM, 3, 20)]).clone()
    source.fill([Draw(dataclasses.replace(STREAM, seed=8), 0, 13)])
    assert torch.equal(source.fill([Draw(STREAM, 3, 20)]), first)


def test_the_caller_may_write_into_the_rows() -> None:
    source = AesBoxMuller(9, 4, CPU)
    first = source.fill([Draw(STREAM, 0, 4)]).clone()
    source.fill([Draw(STREAM, 0, 4)]).fill_(float("nan"))
    assert torch.equal(source.fill([Draw(STREAM, 0, 4)]), first)


@pytest.mark.parametrize("capacity", [1, 2, 31, 32, 33, 64, 100], ids=repr)
def test_all_the_room_can_be_used(capacity: int) -> None:
    whole = rows_of(STREAM, 0, capacity, 6)
    split = AesBoxMuller(6, capacity, CPU).fill([Draw(STREAM, row, 1) for row in range(capacity)])
    assert whole.shape == (capacity, 6)
    assert torch.equal(whole, split)


def test_room_that_is_not_drawn_keeps_what_was_there() -> None:
    source = AesBoxMuller(4, 10, CPU)
    assert source.fill([Draw(STREAM, 0, 3)])[3:].eq(0).all()
    before = source.fill([Draw(STREAM, 0, 10)]).clone()
    after = source.fill([Draw(STREAM, 50, 4)])
    assert torch.equal(after[4:], before[4:])


# -- other streams


OTHERS = [
    dataclasses.replace(STREAM, seed=STREAM.seed + 1),
    dataclasses.replace(STREAM, seed=STREAM.seed + 2**32),
    dataclasses.replace(STREAM, seed=2**63 - 1),
    dataclasses.replace(STREAM, input_digest="ab" * 31 + "ac"),
    dataclasses.replace(STREAM, index=4),
    dataclasses.replace(STREAM, index=33),
    dataclasses.replace(STREAM, phase=Phase.SELECT),
    dataclasses.replace(STREAM, phase=Phase.PREDICT),
]


@pytest.mark.parametrize("other", OTHERS, ids=repr)
def test_other_streams_share_no_number(other: Stream) -> None:
    ours, theirs = rows_of(STREAM, 0, 50, 8), rows_of(other, 0, 50, 8)
    # Equal float32 numbers in equal places: about 2^-23 each by chance, 400 places.
    assert not ours.eq(theirs).any()


def test_keys_differ_in_every_part() -> None:
    keys = {stream.key(chunk) for stream in [STREAM, *OTHERS] for chunk in range(3)}
    assert len(keys) == 3 * (1 + len(OTHERS))
    assert all(len(key) == 32 for key in keys)


def test_parts_of_a_key_cannot_run_together() -> None:
    assert dataclasses.replace(STREAM, index=1).key(11) != dataclasses.replace(STREAM, index=11).key(1)


def test_rows_of_a_stream_differ() -> None:
    rows = rows_of(STREAM, 0, 500, 4)
    assert len(np.unique(rows.numpy())) > 1990  # 2000 numbers of 2^24 or so


def test_default_generators() -> None:
    assert default_rng(CPU) is Rng.AES128_CTR_BOX_MULLER
    assert default_rng(CUDA) is Rng.CUDA_PHILOX
    assert isinstance(make_normals(Rng.AES128_CTR_BOX_MULLER, 4, 2, CPU), AesBoxMuller)


# -- on a CUDA device


def philox(draws: list[Draw], dim: int) -> torch.Tensor:
    return CudaPhilox(dim, sum(draw.rows for draw in draws), CUDA).fill(draws).cpu()


@needs_cuda
@pytest.mark.parametrize("dim", [1, 3, 784], ids=repr)
def test_philox_rows_do_not_depend_on_the_cut(dim: int) -> None:
    whole = philox([Draw(STREAM, 10, 300)], dim)
    other = dataclasses.replace(STREAM, index=99)
    cuts = [0, 1, CUDA_CHUNK_ROWS - 10, CUDA_CHUNK_ROWS - 9, 100, 250, 300]
    parts = [Draw(STREAM, 10 + a, b - a) for a, b in itertools.pairwise(cuts)]
    mixed = philox([piece for part in parts for piece in (part, Draw(other, part.first, 7))], dim)
    row = 0
    for part, cut in zip(parts, cuts, strict=False):
        assert torch.equal(mixed[row : row + part.rows], whole[cut : cut + part.rows])
        row += part.rows + 7


@needs_cuda
@pytest.mark.parametrize("other", OTHERS, ids=repr)
def test_philox_streams_differ(other: Stream) -> None:
    assert not philox([Draw(STREAM, 0, 50)], 8).eq(philox([Draw(other, 0, 50)], 8)).any()


@needs_cuda
def test_philox_chunks_differ() -> None:
    rows = philox([Draw(STREAM, 0, 4 * CUDA_CHUNK_ROWS)], 16)
    assert len(np.unique(rows.numpy())) > 0.99 * rows.numel()
    assert rows.isfinite().all()


@needs_cuda
def test_aes_bits_on_cuda_are_those_of_the_cpu() -> None:
    on_cuda = AesBoxMuller(30, 50, CUDA).fill([Draw(STREAM, 7, 50)]).cpu().double().numpy()
    expected, error = reference_normals(reference_words(STREAM, 7, 50, 30))
    assert (np.abs(on_cuda - expected[:, :30]) <= error[:, :30]).all()
