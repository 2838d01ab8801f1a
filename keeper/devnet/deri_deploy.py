"""Deploys a Deri V3 market to a development node and writes its accounts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from keeper.devnet.artifacts import Contract, load_artifact
from keeper.devnet.builder import Builder, free
from keeper.devnet.deri import DeriDevnet, symbol_init_code
from keeper.devnet.deri_traders import Trader, plan_traders
from keeper.devnet.deri_vaults import lay_out_lending, lend, seed_vaults_call, vault_deposits
from keeper.devnet.deri_world import ONE, DeriWorld, account_key, address_of
from keeper.devnet.oracle_server import Clock, OracleServer, chain_clock, serve, symbol_id
from keeper.devnet.rpc import DevNode, as_int
from keeper.devnet.transactions import mined_by_hand, send
from keeper.errors import ChainError

SEED_BATCH = 100
"""Accounts in one ``seed`` transaction."""
SEND_BATCH = 10
"""``seed`` transactions in one HTTP body; Anvil may refuse bodies above 2 MB."""
FEED_DECIMALS = 8
_BLOCK_GAS = 10**12
_SEED_GAS = 10**9
_RICH_WEI = 10**30

T = TypeVar("T")


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
        builder = await Builder.start(node)
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


def price_server(world: DeriWorld, clock: Clock) -> OracleServer:
    """The server that signs a world's prices, as far as they are not on chain; it may be a process of its own."""
    on_chain = world.chainlink | world.woo
    signed = {name: price for name, price in world.prices_e18().items() if name not in on_chain}
    return OracleServer(account_key(world, "oracle signer"), signed, clock)


def _lay_out(builder: Builder, world: DeriWorld, clock: Clock, start_block: int) -> DeriDevnet:
    """Collect the deployment of every contract, wired together; nothing is sent yet."""
    oracle = price_server(world, clock)
    token_b0 = builder.deploy("DevToken", "Binance USD", "BUSD", world.vaults.decimals_b0 if world.vaults else 18)
    token_deri = builder.deploy("DevToken", "Deri", "DERI", 18)
    privileger = None
    if world.privileged:
        privileger = builder.proxy("PrivilegerImplementation")
        rules = (token_deri.address, world.lock_seconds, world.min_deposit_deri * ONE)
        builder.implement(privileger, load_artifact("PrivilegerImplementation").deployment(*rules))

    oracle_manager = builder.deploy("OracleManager")
    feeds = _lay_out_feeds(builder, world)
    oracles = {name: _lay_out_oracle(builder, world, oracle.signer, name, feeds) for name in world.prices_e18()}
    for contract in oracles.values():
        builder.call(oracle_manager, "setOracle", contract.address)

    pool = builder.proxy("PoolImplementation" if world.vaults else "PoolImplementationLite")
    symbol_manager = builder.proxy("SymbolManagerImplementation")
    devnet = DeriDevnet(
        node=builder.node,
        world=world,
        oracle=oracle,
        admin=builder.admin,
        pool=pool,
        symbol_manager=symbol_manager,
        p_token=builder.deploy("DToken", "Position token", "PT", pool.address),
        l_token=builder.deploy("DToken", "Liquidity token", "LT", pool.address),
        oracle_manager=oracle_manager,
        privileger=privileger,
        token_b0=token_b0,
        token_deri=token_deri,
        symbols={s.name: builder.symbol(s.name, f"SymbolImplementation{type(s).__name__}") for s in world.symbols},
        oracles=oracles,
        feeds=feeds,
        lending=lay_out_lending(builder, world.vaults, token_b0, oracle_manager, pool) if world.vaults else None,
        traders=tuple(plan_traders(world)),
        stakers=tuple(address_of(account_key(world, f"staker {i}")) for i in range(len(world.stakes_deri))),
        liquidator=address_of(account_key(world, "liquidator")),
        liquidator_key=account_key(world, "liquidator"),
        liquidity_provider=address_of(account_key(world, "liquidity provider")),
        start_block=start_block,
    )
    _implement(builder, devnet, seedable=True)
    for symbol in devnet.symbols.values():
        builder.call(symbol_manager, "addSymbol", symbol.address)
    if devnet.lending:
        for v_token in devnet.lending.v_tokens.values():
            builder.call(pool, "addMarket", v_token.address)
    return devnet


def _lay_out_feeds(builder: Builder, world: DeriWorld) -> dict[str, Contract]:
    """What moves the prices that are not signed: Chainlink aggregators and Woo feeds."""
    feeds = {}
    for name, price_e18 in world.prices_e18().items():
        if name in world.chainlink:
            feeds[name] = builder.deploy("ChainlinkAggregator", FEED_DECIMALS, source="ChainlinkFeed.sol")
            builder.call(feeds[name], "transmit", price_e18 // 10 ** (18 - FEED_DECIMALS))
        elif name in world.woo:
            feeds[name] = builder.deploy("WooFeed")
            builder.call(feeds[name], "set", price_e18 // 10 ** (18 - FEED_DECIMALS))
    return feeds


def _lay_out_oracle(builder: Builder, world: DeriWorld, signer: str, name: str, feeds: dict[str, Contract]) -> Contract:
    if name in world.chainlink:
        feed = builder.deploy("ChainlinkFeed", feeds[name].address)
        return builder.deploy("OracleChainlink", name, feed.address)
    if name in world.woo:
        return builder.deploy("OracleWoo", name, feeds[name].address, 18, FEED_DECIMALS)
    return builder.deploy("OracleOffChain", name, signer, world.delay_allowance_seconds)


def _implement(builder: Builder, devnet: DeriDevnet, *, seedable: bool) -> None:
    """Give pool, manager and symbols their implementations: those that can be seeded, or the plain ones."""
    pool, manager = devnet.pool, devnet.symbol_manager
    manager_code = load_artifact("SeedableSymbolManager", "SymbolManagerSeeding.sol") if seedable else manager.artifact
    builder.implement(pool, devnet.pool_init_code(devnet.world.rules, seedable=seedable))
    builder.implement(manager, manager_code.deployment(pool.address))
    for symbol in devnet.world.symbols:
        init_code = symbol_init_code(symbol, manager.address, devnet.oracle_manager.address, seedable=seedable)
        builder.implement(devnet.symbols[symbol.name], init_code)


async def _fund(builder: Builder, devnet: DeriDevnet) -> None:
    """Liquidity, other people's stakes, and what the liquidator starts with."""
    world, token_b0, token_deri = devnet.world, devnet.token_b0, devnet.token_deri
    for address in (devnet.liquidator, devnet.liquidity_provider, *devnet.stakers):
        await builder.node.set_balance(address, world.liquidator_eth * ONE)
    builder.call(token_deri, "mint", devnet.liquidator, world.liquidator_deri * ONE)
    if devnet.lending:
        lend(builder, devnet.lending)

    provider, liquidity = devnet.liquidity_provider, devnet.raw_b0(world.liquidity_usd * ONE)
    builder.call(token_b0, "mint", provider, liquidity, sender=provider)
    builder.call(token_b0, "approve", devnet.pool.address, liquidity, sender=provider)
    builder.call(devnet.pool, "addLiquidity", *devnet.in_b0(liquidity), [], sender=provider)

    if devnet.privileger is not None:
        for staker, stake in zip(devnet.stakers, world.stakes_deri, strict=True):
            builder.call(token_deri, "mint", staker, stake * ONE, sender=staker)
            builder.call(token_deri, "approve", devnet.privileger.address, stake * ONE, sender=staker)
            builder.call(devnet.privileger, "deposit", stake * ONE, sender=staker)
    await builder.mine()


async def _seed(builder: Builder, devnet: DeriDevnet) -> None:
    """Write the accounts, all in one block, then take the means to do so away."""
    node, traders = builder.node, devnet.traders
    total_b0 = devnet.raw_b0(sum(trader.at_hand_b0 for trader in traders))
    builder.call(devnet.token_b0, "mint", devnet.admin, total_b0)
    builder.call(devnet.token_b0, "approve", devnet.pool.address, total_b0)
    await builder.mine()

    seeding = load_artifact("SeedablePoolLite", "PoolSeeding.sol")
    await _write(devnet, [(seeding.encode("seed", _accounts(devnet, batch), []), 0) for batch in _batches(traders)])
    written = await devnet.p_token.read_int(node, "totalMinted")
    if written != len(traders):
        raise ChainError(f"{len(traders)} accounts", f"{written} were written", "trace the seeding transactions")
    if devnet.lending:
        await _fill_vaults(devnet)

    after = await Builder.start(node)
    _implement(after, devnet, seedable=False)
    await after.mine()


async def _fill_vaults(devnet: DeriDevnet) -> None:
    """Give every account of a full pool its vault with what is in it."""
    lending = devnet.lending
    assert lending is not None
    await devnet.node.set_balance(devnet.admin, _RICH_WEI)
    builder = await Builder.start(devnet.node)
    calls = []
    for name, ids, amounts in vault_deposits(lending, devnet.traders):
        if name in lending.tokens:
            builder.call(lending.tokens[name], "mint", devnet.admin, sum(amounts))
            builder.call(lending.tokens[name], "approve", devnet.pool.address, sum(amounts))
        pairs = zip(_batches(ids), _batches(amounts), strict=True)
        calls += [seed_vaults_call(lending, name, batch, worth) for batch, worth in pairs]
    await builder.mine()
    await _write(devnet, calls)
    for account in await devnet.accounts():
        if account.vault is None:
            id_ = account.p_token_id
            raise ChainError(f"account {id_} to have a vault", "it has none", "trace the seeding transactions")


async def _write(devnet: DeriDevnet, calls: Sequence[tuple[bytes, int]]) -> None:
    """Send the pool these calls, each with its value, and mine them in one block.

    Their receipts are not looked at: with ten thousand accounts they hold tens of thousands of logs.
    """
    await devnet.node.set_next_base_fee(0)
    writes = [free(devnet.admin, devnet.pool.address, data, _SEED_GAS, value_wei=value) for data, value in calls]
    for batch in _batches(writes, SEND_BATCH):
        await send(devnet.node, batch)
    await devnet.node.mine()


def _accounts(devnet: DeriDevnet, traders: Sequence[Trader]) -> list[tuple[str, int, list[tuple[bytes, int, int]]]]:
    """``SeedAccount[]`` (PoolSeeding)."""
    return [
        (
            trader.owner,
            devnet.raw_b0(trader.at_hand_b0),
            [(symbol_id(p.symbol), p.volume_e18, p.cost_e18) for p in trader.positions],
        )
        for trader in traders
    ]


def _batches(items: Sequence[T], size: int = SEED_BATCH) -> list[Sequence[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
