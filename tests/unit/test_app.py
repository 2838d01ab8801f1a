"""What is wired together ends as it should."""

from __future__ import annotations

import pytest

from keeper import app
from keeper.errors import KeeperError, StoreError
from keeper.ops.logs import Secrets
from keeper.settings import Settings

FULL = StoreError("room", "the disk is full", "free some")


async def end_with(monkeypatch: pytest.MonkeyPatch, *errors: Exception) -> None:
    async def work(*_: object) -> None:
        raise ExceptionGroup("several", list(errors))

    monkeypatch.setattr(app, "_work", work)
    await app.run(Settings.model_construct(), Secrets())


async def test_what_the_operator_can_mend_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeeperError, match="the disk is full"):
        await end_with(monkeypatch, FULL)


async def test_a_fault_of_our_own_is_not_hidden_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ExceptionGroup) as ended:
        await end_with(monkeypatch, FULL, ZeroDivisionError())
    assert ended.value.subgroup(ZeroDivisionError) is not None
