"""One keeper for one journal: whoever sends holds the file's lock, so that no two processes use the same nonces."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keeper.errors import StoreError


@contextmanager
def hold(journal: Path) -> Iterator[None]:
    """Hold the lock beside ``journal`` meanwhile. Raises ``StoreError`` if another process has it.

    The kernel lets go of it when the process ends, however it ends: the file that stays means nothing.
    """
    path = journal.with_name(journal.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise StoreError(f"a file that can be written at {path}", str(error.strerror), "correct its rights") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                f"to be the only keeper that sends with the journal {journal}",
                "another one is running, and the nonces are its own",
                "stop it for the moment that this takes",
            ) from None
        yield
