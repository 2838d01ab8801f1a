"""One journal, one keeper."""

from __future__ import annotations

from pathlib import Path

import pytest

from keeper.errors import StoreError
from keeper.store.hold import hold


def test_a_second_holder_is_refused_and_the_next_one_is_not(tmp_path: Path) -> None:
    journal = tmp_path / "new" / "keeper.sqlite"
    with hold(journal):
        with pytest.raises(StoreError, match="another one is running"), hold(journal):
            pass
        with hold(journal.with_name("other.sqlite")):
            pass
    with hold(journal):
        pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file that can be written"), hold(tmp_path / "file" / "keeper.sqlite"):
        pass
