"""How much work is let in: a bound on forward passes that are asked for and not yet done."""

import asyncio

from verifier.errors import InvalidProblem, Overloaded

_GUESSED_RATE = 10_000.0
"""Forward passes a second, for telling when to come back before any were measured."""


class Admission:
    """A budget of forward passes, for one event loop.

    Args:
        capacity: passes that may be pending at once.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._pending = 0
        self._freed = asyncio.Event()

    @property
    def pending(self) -> int:
        """Passes admitted and neither done nor given back."""
        return self._pending

    def admit(self, passes: int, rate: float | None) -> None:
        """Take a place, or refuse.

        Raises:
            InvalidProblem: the request alone is larger than the whole budget.
            Overloaded: there is no room now; says when there may be.
        """
        self.check_size(passes)
        if self._pending + passes > self._capacity:
            excess = self._pending + passes - self._capacity
            raise Overloaded(
                f"{self._pending:,} forward passes are pending and at most {self._capacity:,} are admitted; "
                f"this request needs {passes:,}: retry later",
                retry_after=max(0.1, excess / (rate or _GUESSED_RATE)),
            )
        self._pending += passes

    async def wait(self, passes: int) -> None:
        """Take a place as soon as there is room: for later parts of a request that was admitted."""
        self.check_size(passes)
        while self._pending + passes > self._capacity:
            self._freed.clear()
            await self._freed.wait()
        self._pending += passes

    def give_back(self, passes: int) -> None:
        """Passes that were done, or will not be done."""
        self._pending -= passes
        self._freed.set()

    def check_size(self, passes: int) -> None:
        """Refuse, for good, a request that alone is larger than the whole budget (InvalidProblem)."""
        if passes > self._capacity:
            raise InvalidProblem(
                f"the request needs {passes:,} forward passes, more than this server ever admits at once "
                f"({self._capacity:,}); send fewer inputs at a time or ask for fewer draws",
                field="spec.method",
                reason="OVER_ADMISSION_LIMIT",
            )
