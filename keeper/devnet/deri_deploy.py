"""Deploys a Deri V3 Lite market to a development node and writes its accounts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import cast

from keeper.devnet.artifacts import Contract, load_artifact
from keeper.devnet.deri import DEPLOY_GAS, ETH, DeriDevnet, symbol_init_code
from keeper.devnet.deri_world import ONE, DeriWorld, Trader, account_key, address_of, plan_traders
from keeper.devnet.oracle_server import Clock, OracleServer, chain_clock, serve, symbol_id
from keeper.devnet.rpc import DevNode, as_int
from keeper.devnet.transactions import Transaction, created_address, mined_by_hand, next_nonces, send
from keeper.errors import ChainError

SEED_BATCH = 100
"""Accounts in one ``seed`` transaction."""
SEND_BATCH = 10
"""``seed`` transactions in one HTTP body; Anvil may refuse bodies above 2 MB."""
_BLOCK_GAS = 10**12
_SEED_GAS = 10**9


@asynccontextmanager
async def deri_market(
    node: DevNode, world: DeriWorld, *, clock: Clock | None = None, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[DeriDevnet]:
    """Deploy a market and serve its prices, at ``devnet.oracle.url``, until the block is left."""
    devnet = await deploy_deri(node, world, clock=clock)
    async with serve(devnet.oracle, host=host, port=port):
        yield devnet


async def deploy_deri(node: DevNode, world: DeriWorld, *, clock: Clock | None = None) -> DeriDevnet:
    """Deploy a market, fund its people and write its accounts; the node then mines as it did before.

    ``clock`` gives the timestamps of readings: the chain's latest block unless given. The node is left impersonating
    every sender. Raises ``ChainError`` if anything reverts.
    """
    await node.rpc("anvil_autoImpersonateAccount", True)
    head = await node.block()
    async with mined_by_hand(node):
        await node.rpc("evm_setBlockGasLimit", hex(_BLOCK_GAS))
        builder = await _Builder.start(node)
        devnet = _lay_out(builder, world, clock or chain_clock(node), as_int(head["number"]))
        for reading in await devnet.readings():
            builder.call(devnet.oracle_manager, "updateValue", *reading.as_tuple())
        await builder.mine()
        await _fund(builder, devnet)
        await _seed(builder, devnet)
        await node.rpc("evm_setBlockGasLimit", head["gasLimit"])
        await node.set_next_base_fee(as_int(head["baseFeePerGas"]))
        await node.mine()
    return devnet


class _Builder:
    """Collects transactions, knows where the contracts they create will land, and mines them a block at a time."""

    def __init__(self, node: DevNode, admin: str, nonce: int) -> None:
        self.node = node
        self.admin = admin
        self._nonce = nonce
        self._pending: list[Transaction] = []

    @classmethod
    async def start(cls, node: DevNode) -> _Builder:
        accounts = cast("list[str]", await node.rpc("eth_accounts"))
        if not accounts:
            raise ChainError("a node with an unlocked account", "it has none", "use Anvil")
        return cls(node, accounts[0], (await next_nonces(node, {accounts[0]}))[accounts[0]])

    def create(self, init_code: bytes) -> str:
        """Deploy a contract; the answer is where it will be."""
        address = created_address(self.admin, self._nonce)
        self._add(self.admin, None, init_code, DEPLOY_GAS)
        return address

    def deploy(self, name: str, *arguments: object) -> Contract:
        """Deploy a contract by its artifact's name."""
        artifact = load_artifact(name)
        return Contract(self.create(artifact.deployment(*arguments)), artifact)

    def proxy(self, implementation: str) -> Contract:
        """Deploy a plain proxy, to be called like ``implementation``, which it does not have yet."""
        address = self.create(load_artifact("Proxy").deployment())
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


def free(sender: str, to: str | None, data: bytes, gas: int) -> Transaction:
    """A transaction that pays nothing, for blocks whose base fee is zero."""
    return Transaction(sender, to, data, gas, max_fee_per_gas_wei=0, tip_per_gas_wei=0)


def _lay_out(builder: _Builder, world: DeriWorld, clock: Clock, start_block: int) -> DeriDevnet:
    """Collect the deployment of every contract, wired together; nothing is sent yet."""
    signer_key = account_key(world, "oracle signer")
    prices = {symbol.name: symbol.price_e18 for symbol in world.symbols}
    oracle = OracleServer(signer_key, prices, clock)

    token_b0 = builder.deploy("DevToken", "Binance USD", "BUSD", 18)
    token_deri = builder.deploy("DevToken", "Deri", "DERI", 18)
    privileger = None
    if world.privileged:
        privileger = builder.proxy("PrivilegerImplementation")
        rules = (token_deri.address, world.lock_seconds, world.min_deposit_deri * ONE)
        builder.implement(privileger, load_artifact("PrivilegerImplementation").deployment(*rules))

    oracle_manager = builder.deploy("OracleManager")
    oracles = {
        name: builder.deploy("OracleOffChain", name, oracle.signer, world.delay_allowance_seconds) for name in prices
    }
    for contract in oracles.values():
        builder.call(oracle_manager, "setOracle", contract.address)

    pool = builder.proxy("PoolImplementationLite")
    symbol_manager = builder.proxy("SymbolManagerImplementation")
    l_token = builder.deploy("DToken", "Liquidity token", "LT", pool.address)
    p_token = builder.deploy("DToken", "Position token", "PT", pool.address)
    symbols = {
        symbol.name: Contract(
            builder.create(load_artifact("Symbol").deployment(symbol.name)),
            load_artifact("SymbolImplementationFutures"),
        )
        for symbol in world.symbols
    }
    devnet = DeriDevnet(
        node=builder.node,
        world=world,
        oracle=oracle,
        admin=builder.admin,
        pool=pool,
        symbol_manager=symbol_manager,
        p_token=p_token,
        l_token=l_token,
        oracle_manager=oracle_manager,
        privileger=privileger,
        token_b0=token_b0,
        token_deri=token_deri,
        symbols=symbols,
        oracles=oracles,
        traders=tuple(plan_traders(world)),
        stakers=tuple(address_of(account_key(world, f"staker {i}")) for i in range(len(world.stakes_deri))),
        liquidator=address_of(account_key(world, "liquidator")),
        liquidator_key=account_key(world, "liquidator"),
        liquidity_provider=address_of(account_key(world, "liquidity provider")),
        start_block=start_block,
    )
    _implement(builder, devnet, seedable=True)
    for symbol in symbols.values():
        builder.call(symbol_manager, "addSymbol", symbol.address)
    return devnet


def _implement(builder: _Builder, devnet: DeriDevnet, *, seedable: bool) -> None:
    """Give pool, manager and symbols their implementations: those that can be seeded, or the plain ones."""
    pool, manager = devnet.pool, devnet.symbol_manager
    pool_code = load_artifact("SeedablePoolLite", "PoolSeeding.sol") if seedable else pool.artifact
    manager_code = load_artifact("SeedableSymbolManager", "SymbolManagerSeeding.sol") if seedable else manager.artifact
    builder.implement(pool, pool_code.deployment(devnet.parts(), devnet.world.rules.as_tuple()))
    builder.implement(manager, manager_code.deployment(pool.address))
    for symbol in devnet.world.symbols:
        init_code = symbol_init_code(symbol, manager.address, devnet.oracle_manager.address, seedable=seedable)
        builder.implement(devnet.symbols[symbol.name], init_code)


async def _fund(builder: _Builder, devnet: DeriDevnet) -> None:
    """Liquidity, other people's stakes, and what the liquidator starts with."""
    world, token_b0, token_deri = devnet.world, devnet.token_b0, devnet.token_deri
    await builder.node.batch(
        [
            ("anvil_setBalance", [address, hex(world.liquidator_eth * ETH)])
            for address in (devnet.liquidator, devnet.liquidity_provider, *devnet.stakers)
        ]
    )
    builder.call(token_deri, "mint", devnet.liquidator, world.liquidator_deri * ONE)

    provider, liquidity = devnet.liquidity_provider, world.liquidity_usd * ONE
    builder.call(token_b0, "mint", provider, liquidity, sender=provider)
    builder.call(token_b0, "approve", devnet.pool.address, liquidity, sender=provider)
    builder.call(devnet.pool, "addLiquidity", liquidity, [], sender=provider)

    if devnet.privileger is not None:
        for staker, stake in zip(devnet.stakers, world.stakes_deri, strict=True):
            builder.call(token_deri, "mint", staker, stake * ONE, sender=staker)
            builder.call(token_deri, "approve", devnet.privileger.address, stake * ONE, sender=staker)
            builder.call(devnet.privileger, "deposit", stake * ONE, sender=staker)
    await builder.mine()


async def _seed(builder: _Builder, devnet: DeriDevnet) -> None:
    """Write the accounts, all in one block, then take the means to do so away."""
    node, traders = builder.node, devnet.traders
    total_b0 = sum(trader.margin_b0 for trader in traders)
    builder.call(devnet.token_b0, "mint", devnet.admin, total_b0)
    builder.call(devnet.token_b0, "approve", devnet.pool.address, total_b0)
    await builder.mine()

    seeding = load_artifact("SeedablePoolLite", "PoolSeeding.sol")
    await node.set_next_base_fee(0)
    writes = [
        free(devnet.admin, devnet.pool.address, seeding.encode("seed", _accounts(batch), []), _SEED_GAS)
        for batch in (traders[start : start + SEED_BATCH] for start in range(0, len(traders), SEED_BATCH))
    ]
    for start in range(0, len(writes), SEND_BATCH):
        await send(node, writes[start : start + SEND_BATCH])
    await node.mine()
    # Not the receipts: with ten thousand accounts they hold tens of thousands of logs.
    written = await devnet.p_token.read_int(node, "totalMinted")
    if written != len(traders):
        raise ChainError(f"{len(traders)} accounts", f"{written} were written", "trace the seeding transactions")

    after = await _Builder.start(node)
    _implement(after, devnet, seedable=False)
    await after.mine()


def _accounts(traders: Sequence[Trader]) -> list[tuple[str, int, list[tuple[bytes, int, int]]]]:
    """``SeedAccount[]`` (PoolSeeding)."""
    return [
        (t.owner, t.margin_b0, [(symbol_id(p.symbol), p.volume_e18, p.cost_e18) for p in t.positions]) for t in traders
    ]
