"""Admission: never more pending than the capacity, and whoever waits is let in as soon as there is room."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.admission import Admission
from verifier.errors import InvalidProblem, Overloaded


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_admits_up_to_the_capacity() -> None:
    admission = Admission(10)
    admission.admit(4, None)
    admission.admit(6, None)
    assert admission.pending == 10
    with pytest.raises(Overloaded):
        admission.admit(1, None)
    assert admission.pending == 10


@pytest.mark.parametrize(("rate", "seconds"), [(100.0, 5.0), (None, 0.1), (1e9, 0.1), (0.5, 1000.0)], ids=repr)
def test_overloaded_says_when_to_come_back(rate: float | None, seconds: float) -> None:
    admission = Admission(1000)
    admission.admit(800, rate)
    with pytest.raises(Overloaded, match="800 forward passes are pending and at most 1,000") as error:
        admission.admit(700, rate)
    assert error.value.retry_after == pytest.approx(seconds)


async def test_more_than_the_capacity_is_never_admitted() -> None:
    admission = Admission(10)
    with pytest.raises(InvalidProblem, match="more than this server ever admits") as error:
        admission.admit(11, None)
    assert error.value.reason == "OVER_ADMISSION_LIMIT"
    with pytest.raises(InvalidProblem, match="more than this server ever admits"):
        await admission.wait(11)
    assert admission.pending == 0


async def test_giving_back_makes_room() -> None:
    admission = Admission(10)
    admission.admit(10, None)
    admission.give_back(3)
    admission.admit(3, None)
    assert admission.pending == 10


async def test_waiting_ends_when_there_is_room_and_not_before() -> None:
    admission = Admission(10)
    admission.admit(10, None)
    waiting = asyncio.create_task(admission.wait(4))
    await settle()
    admission.give_back(3)
    await settle()
    assert not waiting.done()
    admission.give_back(1)
    await asyncio.wait_for(waiting, 5)
    assert admission.pending == 10


async def test_waiting_is_no_waiting_where_there_is_room() -> None:
    admission = Admission(10)
    await asyncio.wait_for(admission.wait(10), 5)
    assert admission.pending == 10


async def test_all_who_fit_are_let_in_at_once() -> None:
    admission = Admission(10)
    admission.admit(10, None)
    waiting = [asyncio.create_task(admission.wait(passes)) for passes in (3, 3, 3, 3)]
    await settle()
    admission.give_back(9)
    await settle()
    assert [task.done() for task in waiting].count(True) == 3
    assert admission.pending == 10
    admission.give_back(3)
    await asyncio.wait_for(asyncio.gather(*waiting), 5)


async def test_who_gives_up_waiting_takes_no_place() -> None:
    admission = Admission(10)
    admission.admit(10, None)
    gone, stays = (asyncio.create_task(admission.wait(5)) for _ in range(2))
    await settle()
    gone.cancel()
    await settle()
    assert gone.cancelled()
    admission.give_back(5)
    await asyncio.wait_for(stays, 5)
    assert admission.pending == 10


async def test_who_gives_up_at_the_very_moment_of_being_let_in() -> None:
    admission = Admission(10)
    admission.admit(10, None)
    gone, stays = (asyncio.create_task(admission.wait(5)) for _ in range(2))
    await settle()
    admission.give_back(5)
    gone.cancel()
    await settle()
    # Either it was let in, or the other one was: no place is lost, none is taken twice.
    assert admission.pending == 10
    assert gone.cancelled() == stays.done()
    stays.cancel()


@given(st.lists(st.tuples(st.sampled_from(["admit", "wait", "back"]), st.integers(0, 12)), max_size=40))
def test_never_more_than_the_capacity(moves: list[tuple[str, int]]) -> None:
    async def play() -> None:
        admission, held = Admission(10), []
        waiting: dict[asyncio.Task[None], int] = {}
        for move, passes in moves:
            try:
                if move == "admit":
                    admission.admit(passes, None)
                    held.append(passes)
                elif move == "wait" and passes <= 10:
                    waiting[asyncio.create_task(admission.wait(passes))] = passes
                elif held:
                    admission.give_back(held.pop())
            except (Overloaded, InvalidProblem):
                pass
            await settle()
            held += [waiting.pop(task) for task in list(waiting) if task.done()]
            assert admission.pending == sum(held) <= 10
            assert all(admission.pending + passes > 10 for passes in waiting.values())  # who fits does not wait
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(play())
