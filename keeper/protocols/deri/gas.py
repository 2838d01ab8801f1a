"""The gas limit of ``liquidate``: a model, because an estimate would cost a round trip and be true of one block only.

Measured on the published contracts with five signatures, thousands of gas, the most that was ever used: Lite pool 428
for one symbol, 613 for two, 768, 879 (four), 1,148 (six), 1,401 (eight); full pool 925, 1,205, 1,281 (three), 1,552
(seven). The model lies at least a fifth above each, because a limit that is too low loses the gas and the race, and
one that is too high only claims room in the block.
"""

from __future__ import annotations

from keeper.protocols.deri.state import AccountState, Flavour

_BASE = {Flavour.LITE: 320_000, Flavour.FULL: 570_000}
_PER_SYMBOL = 180_000
_PER_SIGNATURE = 45_000
_PER_VAULT_MARKET = 300_000


def gas_limit(flavour: Flavour, account: AccountState, signatures: int) -> int:
    """Gas that ``liquidate`` of this account never needs all of."""
    markets = len(account.vault.balances) or 1 if account.vault else 0
    symbols = len(account.positions)
    return _BASE[flavour] + _PER_SYMBOL * symbols + _PER_SIGNATURE * signatures + _PER_VAULT_MARKET * markets
