"""Who has staked. The privileger keeps no list, so its ``Deposit`` and ``Withdraw`` events have to tell.

Sums over events drift; here an event only names a user, and what the user has is read from the contract.
"""

from __future__ import annotations

from collections.abc import Iterable

from keeper.chain.logs import LogFetcher
from keeper.chain.rpc import Rpc
from keeper.model import Header, Log, LogFilter
from keeper.protocols.deri import abi
from keeper.protocols.deri.plans import Wiring


def staker_filter(privileger: str) -> LogFilter:
    """Every movement of stakes."""
    return LogFilter(frozenset({privileger}), frozenset({abi.DEPOSIT, abi.WITHDRAW}))


def users_of(logs: Iterable[Log], token: str) -> list[str]:
    """Everybody who ever deposited ``token``, each once, in the order of the first time.

    ``Deposit(address token, address user, uint256 amount)``, nothing indexed.
    """
    users = (
        abi.address_at(log.data, 1)
        for log in logs
        if log.topics[:1] == (abi.DEPOSIT,) and len(log.data) == 96 and abi.address_at(log.data, 0) == token
    )
    return list(dict.fromkeys(users))


async def find_users(rpc: Rpc, parts: Wiring, first_block: int, head: Header) -> list[str]:
    """Everybody who deposited from ``first_block`` to ``head``. Raises ``ChainError`` if no endpoint has the logs."""
    logs = await LogFetcher(rpc).between(rpc.order()[0], staker_filter(parts.privileger), first_block, head)
    return users_of(logs, parts.deri)
