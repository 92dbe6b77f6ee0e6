"""The sampling loop: nothing lost, nothing doubled, and no input's votes depend on its company."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from fakes import CPU, Bands, Broken, Failing, Gated, HalfSpace
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from verifier.methods import Rng
from verifier.seeds import Phase, Stream
from verifier.smoothing.sampler import Forward, Lane, Segment, count, pack, tally
from verifier.smoothing.streams import AesBoxMuller, Draw

AES = Rng.AES128_CTR_BOX_MULLER
NAN, INF = float("nan"), float("inf")


def stream_of(index: int, phase: Phase = Phase.ESTIMATE) -> Stream:
    return Stream(seed=11, input_digest="0d" * 32, index=index, phase=phase)


def segment_of(index: int, first: int, rows: int, slot: int, dim: int = 3, sigma: float = 0.5) -> Segment:
    return Segment(torch.full((dim,), 0.25 * index), sigma, stream_of(index), first, rows, slot)


# -- pack

segment_lists = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1000), st.integers(0, 300)), max_size=12)


@given(segment_lists, st.integers(1, 97))
def test_pack_loses_and_doubles_nothing(parts: list[tuple[int, int, int]], batch_rows: int) -> None:
    segments = [segment_of(index, first, rows, index) for index, first, rows in parts]
    batches = pack(segments, batch_rows)

    def rows_of(many: Sequence[Segment]) -> list[tuple[int, int, int]]:
        return [(s.stream.index, s.slot, row) for s in many for row in range(s.first, s.first + s.rows)]

    assert [row for batch in batches for row in rows_of(batch)] == rows_of(segments)  # all, once, in order
    sizes = [sum(segment.rows for segment in batch) for batch in batches]
    assert all(size == batch_rows for size in sizes[:-1])
    assert all(1 <= size <= batch_rows for size in sizes)
    assert all(segment.rows > 0 for batch in batches for segment in batch)


def test_pack_keeps_the_rest_of_a_segment() -> None:
    segment = Segment(torch.ones(2), 0.7, stream_of(3, Phase.SELECT), 5, 9, 2)
    for piece in (piece for batch in pack([segment], 4) for piece in batch):
        assert (piece.x is segment.x, piece.sigma, piece.stream, piece.slot) == (True, 0.7, segment.stream, 2)


def test_pack_of_nothing() -> None:
    assert pack([], 8) == []


# -- tally

TABLE = [
    ([0.0, 1.0, 2.0], 2),
    ([3.0, 1.0, 2.0], 0),
    ([1.0, 1.0, 1.0], 0),
    ([0.0, 1.0, 1.0], 1),
    ([-1.0, -1.0, -2.0], 0),
    ([NAN, 1.0, 2.0], 3),
    ([0.0, 1.0, NAN], 3),
    ([0.0, INF, 1.0], 3),
    ([0.0, 5.0, -INF], 3),
    ([-INF, -INF, -INF], 3),
    ([INF, INF, INF], 3),
    ([NAN, NAN, NAN], 3),
    ([3e38, -3e38, 0.0], 0),
    ([1e-45, 0.0, 0.0], 0),
    ([-0.0, 0.0, -0.0], 0),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=repr)
@pytest.mark.parametrize(("logits", "column"), TABLE, ids=repr)
def test_a_row_votes_for_its_largest_finite_logit(logits: list[float], column: int, dtype: torch.dtype) -> None:
    votes = tally(torch.tensor([logits], dtype=dtype), torch.tensor([1]), slots=3, classes=3)
    expected = torch.zeros((3, 4), dtype=torch.int64)
    expected[1, column] = 1
    assert votes.dtype == torch.int64
    assert torch.equal(votes, expected)


finite_or_not = st.sampled_from([-2.0, -1.0, 0.0, 1.0, 2.0, NAN, INF, -INF])


@given(st.lists(st.tuples(st.integers(0, 3), st.lists(finite_or_not, min_size=4, max_size=4)), min_size=1, max_size=40))
def test_tally_is_a_plain_count(rows: list[tuple[int, list[float]]]) -> None:
    votes = tally(torch.tensor([row for _, row in rows]), torch.tensor([slot for slot, _ in rows]), 4, 4)
    expected = np.zeros((4, 5), dtype=np.int64)
    for slot, logits in rows:
        valid = all(np.isfinite(logits))
        expected[slot, logits.index(max(logits)) if valid else 4] += 1
    assert (votes.numpy() == expected).all()


# -- count


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(3) as pool:
        yield pool


Votes = NDArray[np.int64]
Count = Callable[..., Votes]


@pytest.fixture(scope="module")
def votes_of(pool: ThreadPoolExecutor) -> Count:
    def votes_of(
        forward: Forward, segments: Sequence[Segment], slots: int, batch_rows: int, lanes: int = 1, classes: int = 4
    ) -> Votes:
        shape = tuple(segments[0].x.shape)
        workers = [Lane(forward, shape, classes, batch_rows, AES, CPU) for _ in range(lanes)]
        return count(workers, pool, segments, batch_rows, slots)

    return votes_of


BANDS = Bands([-0.5, 0.25, 1.0])
SEGMENTS = [
    segment_of(0, 0, 100, 0),
    segment_of(1, 17, 250, 1, sigma=0.25),
    segment_of(2, 3, 1, 3, sigma=2.0),
    segment_of(0, 100, 31, 0),
    segment_of(4, 0, 77, 4, sigma=1e-3),
]


def looped(segments: Sequence[Segment], slots: int, classes: int = 4) -> Votes:
    """The paper's loop: one row at a time, drawn alone, counted in Python."""
    votes = np.zeros((slots, classes + 1), dtype=np.int64)
    for segment in segments:
        normals = AesBoxMuller(segment.x.numel(), 1, CPU)
        for row in range(segment.first, segment.first + segment.rows):
            z = normals.fill([Draw(segment.stream, row, 1)]).view(segment.x.shape)
            value = float((segment.x + segment.sigma * z).flatten()[0])
            votes[segment.slot, sum(value > edge for edge in (-0.5, 0.25, 1.0))] += 1
    return votes


@pytest.mark.parametrize("lanes", [1, 2, 3])
@pytest.mark.parametrize("batch_rows", [1, 7, 64, 1000])
def test_votes_are_those_of_a_loop(votes_of: Count, batch_rows: int, lanes: int) -> None:
    votes = votes_of(BANDS, SEGMENTS, 6, batch_rows, lanes)
    assert votes.dtype == np.int64
    assert (votes == looped(SEGMENTS, 6)).all()
    assert (votes[[2, 5]] == 0).all()  # slots that nobody uses
    assert votes.sum() == sum(segment.rows for segment in SEGMENTS)


@pytest.mark.parametrize("shape", [(1,), (5,), (8,), (1, 3, 3), (2, 4, 4)], ids=repr)
def test_inputs_of_any_shape(votes_of: Count, shape: tuple[int, ...]) -> None:
    segments = [Segment(torch.full(shape, 0.1 * i), 0.5, stream_of(i), i, 40, i) for i in range(3)]

    class Shaped(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert tuple(x.shape[1:]) == shape
            logits: Tensor = BANDS(x)
            return logits

    assert (votes_of(Shaped(), segments, 3, 16, 2) == looped(segments, 3)).all()


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_company_changes_no_vote(votes_of: Count, data: st.DataObject) -> None:
    ours = segment_of(1, data.draw(st.integers(0, 99)), data.draw(st.integers(1, 200)), 0, sigma=0.4)
    cut = data.draw(st.integers(0, ours.rows))
    pieces = [
        Segment(ours.x, ours.sigma, ours.stream, ours.first, cut, 0),
        Segment(ours.x, ours.sigma, ours.stream, ours.first + cut, ours.rows - cut, 0),
    ]
    parts = data.draw(st.lists(st.tuples(st.integers(2, 9), st.integers(1, 150)), max_size=5))
    company = [segment_of(index, 0, rows, 1, sigma=0.1 * index) for index, rows in parts]
    mixed = data.draw(st.permutations([piece for piece in pieces if piece.rows] + company))
    batch_rows, lanes = data.draw(st.integers(1, 128)), data.draw(st.integers(1, 3))
    assert (votes_of(BANDS, mixed, 2, batch_rows, lanes)[0] == votes_of(BANDS, [ours], 1, 64)[0]).all()


@pytest.mark.parametrize("value", [NAN, INF, -INF], ids=repr)
def test_invalid_logits_are_a_class_of_their_own(votes_of: Count, value: float) -> None:
    segment = segment_of(0, 0, 500, 0)
    whole = votes_of(BANDS, [segment], 1, 64)
    broken = votes_of(Broken(BANDS, limit=0.25, value=value, column=1), [segment], 1, 64)
    assert broken[0].tolist() == [*whole[0, :2], 0, 0, whole[0, 2] + whole[0, 3]]
    assert 0 < broken[0, 4] < 500


def test_a_model_may_write_into_its_input(votes_of: Count) -> None:
    class InPlace(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = BANDS(x)
            x.fill_(NAN)
            return logits

    segments = [segment_of(index, 0, 100, index, dim=4) for index in range(3)]
    assert (votes_of(InPlace(), segments, 3, 8, 2) == votes_of(BANDS, segments, 3, 8)).all()


@pytest.mark.parametrize("forward", [nn.Flatten(), nn.Identity()], ids=["flatten", "identity"])
def test_logits_that_are_a_view_of_the_input(votes_of: Count, forward: nn.Module) -> None:
    """A model whose logits are its very input: its answers must not be overwritten by the next batch's noise."""
    segments = [
        Segment(torch.tensor([1.0, 0, 0, 0]), 0.3, stream_of(0), 0, 100, 0),
        Segment(torch.tensor([0, 0, 1.0, 0]), 0.3, stream_of(1), 0, 100, 1),
    ]
    copied = votes_of(lambda x: forward(x).clone(), segments, 2, 16)
    assert (votes_of(forward, segments, 2, 16) == copied).all()


def test_logits_in_a_buffer_that_the_model_keeps(votes_of: Count) -> None:
    class Reuses(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("room", torch.empty(16, 4))

        def forward(self, x: Tensor) -> Tensor:
            return self.get_buffer("room").copy_(BANDS(x))

    segments = [segment_of(index, 0, 100, index) for index in range(3)]
    assert (votes_of(Reuses(), segments, 3, 16) == votes_of(BANDS, segments, 3, 16)).all()


def test_an_error_leaves_no_lane_running(pool: ThreadPoolExecutor) -> None:
    """Lanes have one set of buffers: the next count may begin only when the last lane of this one is done."""
    failing, gated = Failing(HalfSpace([1.0])), Gated(HalfSpace([1.0]))
    failing.arm(1)
    gated.close()

    def fails_while_the_other_works(x: Tensor) -> Tensor:
        assert gated.entered.wait(60)
        logits: Tensor = failing(x)
        return logits

    lanes = [Lane(forward, (1,), 2, 4, AES, CPU) for forward in (fails_while_the_other_works, gated)]
    returned = threading.Event()

    def counted() -> None:
        try:
            count(lanes, pool, [segment_of(0, 0, 8, 0, dim=1)], 4, 1)
        finally:
            returned.set()

    caller = ThreadPoolExecutor(1)
    future = caller.submit(counted)
    assert gated.entered.wait(60)
    early = returned.wait(0.2)  # only a wrong `count` returns while its second lane is at the gate
    gated.open()
    with pytest.raises(RuntimeError, match="armed"):
        future.result(60)
    caller.shutdown()
    assert not early
