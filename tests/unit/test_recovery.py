"""A mirror that can't be read yet is waited for; what waiting does not mend is raised."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from keeper.engine.recovery import insist
from keeper.errors import ChainError, KeeperError, ProtocolError
from keeper.model import Header

HEAD = Header(5, "0xb5", "0xb4", 1000, 30_000_000, 0, None)
SILENT = ChainError("an answer", "there was none", "wait")


async def test_trouble_of_a_node_is_waited_out_and_told_once() -> None:
    troubles: list[KeeperError] = [SILENT, SILENT, SILENT]

    async def read() -> Header:
        if troubles:
            raise troubles.pop()
        return HEAD

    with capture_logs() as logs:
        assert await insist("lite", read, ChainError, pause_s=0) == HEAD
    assert [entry["event"] for entry in logs] == ["mirror.not_read_yet"]


async def test_a_contract_of_another_kind_is_not() -> None:
    async def read() -> Header:
        raise ProtocolError("a pool", "it is none", "check the address")

    with pytest.raises(ProtocolError):
        await insist("lite", read, ChainError, pause_s=0)
