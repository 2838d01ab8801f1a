"""What takes a while says so on standard error: only on a terminal, and gone without a trace when it is over."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn, TimeElapsedColumn

_T = TypeVar("_T")


def progress(*columns: ProgressColumn) -> Progress:
    """A display of these columns. Where nobody looks on it shows nothing; what is printed meanwhile is left alone."""
    # Not rich's own idea of a terminal: FORCE_COLOR makes one of a file.
    disable = not sys.stderr.isatty()
    return Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False, disable=disable)


def counting() -> Progress:
    """A bar for what can be counted; the description says how far it is."""
    return progress(SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Say what is waited for, and for how long already. What is inside must not print."""
    with progress(SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()) as shown:
        shown.add_task(text, total=None)
        yield


async def as_they_come(text: str, items: AsyncIterator[_T]) -> AsyncIterator[_T]:
    """The items, to be printed one by one; ``text`` is shown while the next is waited for."""
    while True:
        with waiting(text):
            try:
                item = await anext(items)
            except StopAsyncIteration:
                return
        yield item
