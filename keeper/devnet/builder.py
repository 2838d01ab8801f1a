"""Deploys contracts many at a time: addresses are known before anything is sent, so one block holds it all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from keeper.devnet.artifacts import Contract, load_artifact
from keeper.devnet.rpc import DevNode
from keeper.devnet.transactions import Transaction, created_address, next_nonces, send
from keeper.errors import ChainError

DEPLOY_GAS = 8_000_000


class Builder:
    """Collects transactions, knows where the contracts they create will land, and mines them a block at a time."""

    def __init__(self, node: DevNode, admin: str, nonce: int) -> None:
        self.node = node
        self.admin = admin
        self._nonce = nonce
        self._pending: list[Transaction] = []

    @classmethod
    async def start(cls, node: DevNode) -> Builder:
        accounts = cast("list[str]", await node.rpc("eth_accounts"))
        if not accounts:
            raise ChainError("a node with an unlocked account", "it has none", "use Anvil")
        return cls(node, accounts[0], (await next_nonces(node, {accounts[0]}))[accounts[0]])

    def create(self, init_code: bytes) -> str:
        """Deploy a contract; the answer is where it will be."""
        address = created_address(self.admin, self._nonce)
        self._add(self.admin, None, init_code, DEPLOY_GAS)
        return address

    def deploy(self, name: str, *arguments: object, source: str | None = None) -> Contract:
        """Deploy a contract by its artifact's name."""
        artifact = load_artifact(name, source)
        return Contract(self.create(artifact.deployment(*arguments)), artifact)

    def proxy(self, implementation: str) -> Contract:
        """Deploy a plain proxy, to be called like ``implementation``, which it does not have yet."""
        address = self.create(load_artifact("Proxy").deployment())
        return Contract(address, load_artifact(implementation))

    def symbol(self, name: str, implementation: str) -> Contract:
        """Deploy a symbol's proxy, to be called like ``implementation``, which it does not have yet."""
        address = self.create(load_artifact("Symbol").deployment(name))
        return Contract(address, load_artifact(implementation))

    def implement(self, proxy: Contract, init_code: bytes) -> None:
        """Deploy an implementation and give it to a proxy."""
        implementation = self.create(init_code)
        data = load_artifact("Proxy").encode("setImplementation", implementation)
        self._add(self.admin, proxy.address, data)

    def call(self, contract: Contract, function: str, *arguments: object, sender: str | None = None) -> None:
        """Call a contract, as the admin unless said otherwise."""
        self._add(sender or self.admin, contract.address, contract.encode(function, *arguments))

    async def mine(self) -> None:
        """Mine all that was collected in one block. Raises ``ChainError`` if any of it reverted."""
        sent, self._pending = self._pending, []
        await self.node.set_next_base_fee(0)
        hashes = await send(self.node, sent)
        await self.node.mine()
        receipts = cast("list[Mapping[str, str]]", await self.node.rpc("eth_getBlockReceipts", "latest"))
        succeeded = {receipt["transactionHash"] for receipt in receipts if receipt["status"] == "0x1"}
        for hash_, transaction in zip(hashes, sent, strict=True):
            if hash_ not in succeeded:
                what = f"0x{transaction.data[:4].hex()} to {transaction.to}"
                raise ChainError("every step of the deployment to succeed", f"{what} did not", f"trace {hash_}")

    def _add(self, sender: str, to: str | None, data: bytes, gas: int = 3_000_000) -> None:
        self._pending.append(free(sender, to, data, gas))
        if sender == self.admin:
            self._nonce += 1


def free(sender: str, to: str | None, data: bytes, gas: int, value_wei: int = 0) -> Transaction:
    """A transaction that pays nothing for its gas, for blocks whose base fee is zero."""
    return Transaction(sender, to, data, gas, value_wei, max_fee_per_gas_wei=0, tip_per_gas_wei=0)
