"""Progress of long work: a bar on a terminal, plain lines elsewhere, nothing when quiet. Always on standard error."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

from verifier.catalogue import Progress

SECONDS_BETWEEN_LINES = 5.0


class Reporter(Protocol):
    """Told after every group of answers."""

    def __call__(self, progress: Progress) -> None:
        """What was reached."""
        ...


class _Rate(ProgressColumn):
    """Forward passes a second, over the whole call."""

    def render(self, task: Task) -> Text:
        passes, elapsed = task.fields.get("passes", 0), task.elapsed or 0.0
        return Text(f"{passes / elapsed:,.0f} passes/s" if elapsed and passes else "")


@contextmanager
def reporter(inputs: int, passes: int | None, *, quiet: bool) -> Iterator[Reporter]:
    """Reports a certification of so many inputs and forward passes.

    The bar follows forward passes where they are known before, because inputs finish in bursts; otherwise inputs.
    """
    if quiet:
        yield lambda _progress: None
    elif sys.stderr.isatty():
        with _bar() as bar:
            warn = _Warnings()
            task = bar.add_task("certifying", total=passes or inputs, inputs=f"0/{inputs}", passes=0)
            decided = 0

            def update(progress: Progress) -> None:
                nonlocal decided
                warn(progress)
                decided += len(progress.results)
                done = progress.forward_passes
                bar.update(task, completed=done if passes else decided, inputs=f"{decided}/{inputs}", passes=done)

            yield update
    else:
        yield _Lines(inputs, passes)


def _bar() -> Bar:
    return Bar(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[inputs]} inputs"),
        _Rate(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


class _Warnings:
    """Tells each warning of a price once."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def __call__(self, progress: Progress) -> None:
        for warning in progress.price.warnings if progress.price else ():
            if warning not in self._told:
                self._told.add(warning)
                print(f"note: {warning}", file=sys.stderr)  # noqa: T201


class _Lines:
    """A line now and then, and one at the end."""

    def __init__(self, inputs: int, passes: int | None) -> None:
        self._inputs, self._passes = inputs, passes
        self._decided = 0
        self._warn = _Warnings()
        self._started = self._last = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        self._warn(progress)
        self._decided += len(progress.results)
        now = time.monotonic()
        if now - self._last < SECONDS_BETWEEN_LINES and self._decided < self._inputs:
            return
        self._last = now
        line = f"{self._decided}/{self._inputs} inputs"
        if self._passes is not None:
            rate = progress.forward_passes / max(now - self._started, 1e-9)
            left = (self._passes - progress.forward_passes) / rate if rate else 0.0
            line += f", {rate:,.0f} forward passes/s, {left:.0f} s left"
        print(line, file=sys.stderr, flush=True)  # noqa: T201
