"""A Meridian market on a development node: deployed from a ``MeridianWorld``, and moved by its people.

Actions send a transaction and answer its hash without waiting for it; ``confirm`` waits and raises if one reverted.
They are sent from the people's own accounts, which the node impersonates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import cast

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from keeper.devnet.artifacts import Contract, load_artifact
from keeper.devnet.builder import Builder, free
from keeper.devnet.deri_world import address_of
from keeper.devnet.rpc import Call, DevNode, Json, RpcError, as_int
from keeper.devnet.transactions import Transaction, confirm, mined_by_hand, reason_text, send
from keeper.errors import ChainError

USD = 10**30
PRICE_DECIMALS = 8
ERRORS = {
    14: "Vault: _token not whitelisted",
    28: "Vault: leverage not enabled",
    31: "Vault: empty position",
    34: "Vault: invalid liquidator",
    35: "Vault: empty position",
    36: "Vault: position cannot be liquidated",
    38: "Vault: invalid _averagePrice",
    40: "Vault: _size must be more than _collateral",
    49: "Vault: invalid increase",
    50: "Vault: reserve exceeds pool",
    52: "Vault: reserve exceeds pool",
    53: "Vault: forbidden",
}
_SEED_BATCH = 50
_SEED_GAS = 40_000_000
_BLOCK_GAS = 10**12
_GAS = 2_000_000


@dataclass(frozen=True, slots=True)
class TokenTerms:
    """One token of a local market."""

    symbol: str
    decimals: int
    price_usd: Decimal
    is_stable: bool = False
    min_profit_basis_points: int = 0
    spread_basis_points: int = 0


@dataclass(frozen=True, slots=True)
class Cohort:
    """Positions that are liquidated for their collateral (state 1) once the price has moved ``distance`` against them.

    Some way before that they are above the leverage limit (state 2).
    """

    index: str
    is_long: bool
    count: int
    distance: Decimal
    size_usd: int = 10_000
    collateral: str = "USDC"
    """Of shorts; a long's collateral is its index."""


TOKENS = (
    TokenTerms("BTC", 8, Decimal(60_000)),
    TokenTerms("ETH", 18, Decimal(3_000)),
    TokenTerms("USDC", 6, Decimal(1), is_stable=True),
    TokenTerms("DAI", 18, Decimal(1), is_stable=True),
)


@dataclass(frozen=True, slots=True)
class MeridianWorld:
    """What a local market is to look like. Pure data, no chain."""

    cohorts: tuple[Cohort, ...] = ()
    tokens: tuple[TokenTerms, ...] = TOKENS
    timelock: bool = True
    """Governed by a timelock and liquidated through the position manager; else governed by an ordinary account."""
    private: bool = True
    fast: bool = False
    """Fast prices are set."""
    sample_space: int = 1
    margin_fee_basis_points: int = 10
    max_margin_fee_basis_points: int = 500
    liquidation_fee_usd: int = 5
    max_leverage: int = 1_000_000
    min_profit_time: int = 0
    funding_interval: int = 3600
    funding_rate_factor: int = 100
    stable_funding_rate_factor: int = 100
    pool_usd: int = 1_000_000_000
    """Of every token."""


@dataclass(frozen=True, slots=True)
class Holder:
    """One position as it was written at the start."""

    key: str
    account: str
    collateral_token: str
    index_token: str
    is_long: bool
    cohort: int


@dataclass(frozen=True, slots=True)
class MeridianDevnet:
    """A deployed market: where everything is, who takes part, and what they can do."""

    node: DevNode
    world: MeridianWorld
    admin: str
    vault: Contract
    vault_utils: Contract
    price_feed: Contract
    fast_feed: Contract
    manager: Contract
    timelock: Contract
    tokens: Mapping[str, Contract]
    """By symbol."""
    sources: Mapping[str, Contract]
    holders: tuple[Holder, ...]
    liquidator: str
    liquidator_key: bytes = field(repr=False)
    start_block: int = 0

    @property
    def position_manager(self) -> str | None:
        """What a keeper is to be configured with."""
        return self.manager.address if self.world.timelock else None

    # --- looking

    async def verdicts(self, holders: Sequence[Holder], *, at: int, tag: str | int = "latest") -> dict[str, str | None]:
        """What the chain says to liquidating each position as the next block's first transaction at second ``at``."""
        block = await self.node.block(tag)
        number = as_int(block["number"])
        next_block: dict[str, Json] = {"number": hex(number + 1), "time": hex(at)}
        calls: list[Call] = []
        for holder in holders:
            request: dict[str, Json] = {
                "from": self.liquidator,
                "to": self._route().address,
                "data": "0x" + self._liquidation(holder).hex(),
                "gas": hex(_GAS),
            }
            calls.append(("eth_call", [request, hex(number), {}, next_block]))
        answers = await self.node.try_batch(calls)
        return {
            holder.key: reason_text(answer.data) if isinstance(answer, RpcError) else None
            for holder, answer in zip(holders, answers, strict=True)
        }

    # --- acting

    async def confirm(self, *hashes: str) -> list[Mapping[str, Json]]:
        """Wait until these are mined; their receipts. Raises ``ChainError`` if one reverted."""
        return await confirm(self.node, hashes)

    async def set_price(self, symbol: str, usd: Decimal | int) -> str:
        """A new round of the token's primary source."""
        answer = int(Decimal(usd) * 10**PRICE_DECIMALS)
        return await self._send(self.admin, self.sources[symbol], "answer", answer)

    async def set_fast_prices(self, prices_usd: Mapping[str, Decimal | int]) -> str:
        """Push fast prices; they count from this block on."""
        tokens = [self.tokens[symbol].address for symbol in prices_usd]
        values = [int(Decimal(usd) * USD) for usd in prices_usd.values()]
        return await self._send(self.admin, self.fast_feed, "setPrices", tokens, values)

    async def set_fast_durations(self, price_duration: int, max_price_update_delay: int) -> str:
        """How many seconds a fast price counts, and after how many silence is an error."""
        return await self._send(self.admin, self.fast_feed, "setDurations", price_duration, max_price_update_delay)

    async def increase(self, account: str, index: str, collateral: str, size_usd: int, deposit: int, long: bool) -> str:
        """Open or top up a position with a deposit in units of the collateral token; a size of 0 only deposits."""
        await self.node.set_balance(account, 10**18)
        token, vault = self.tokens[collateral], self.vault
        await self._govern("setIsLeverageEnabled", True)
        await self._send(self.admin, token, "mint", vault.address, deposit)
        arguments = (account, token.address, self.tokens[index].address, size_usd * USD, long)
        return await self._send(account, vault, "increasePosition", *arguments)

    async def decrease(self, account: str, index: str, collateral: str, size_usd: int, long: bool) -> str:
        """Close a part of a position, or all of it."""
        await self.node.set_balance(account, 10**18)
        tokens = (self.tokens[collateral].address, self.tokens[index].address)
        return await self._send(
            account, self.vault, "decreasePosition", account, *tokens, 0, size_usd * USD, long, account
        )

    async def liquidate(self, caller: str, holder: Holder) -> str:
        """Liquidate by hand on the world's route."""
        await self.node.set_balance(caller, 10**18)
        transaction = Transaction(caller, self._route().address, self._liquidation(holder), _GAS)
        return (await send(self.node, [transaction]))[0]

    async def govern(self, function: str, *arguments: object) -> str:
        """Anything that only the vault's governor may do."""
        return await self._govern(function, *arguments)

    async def list_liquidator(self, account: str, *, active: bool) -> str:
        """Put an account on the list of the world's route, or take it off."""
        if self.world.timelock:
            return await self._send(self.admin, self.manager, "setLiquidator", account, active)
        return await self._govern("setLiquidator", account, active)

    async def _govern(self, function: str, *arguments: object) -> str:
        data = self.vault.encode(function, *arguments)
        if self.world.timelock:
            return await self._send(self.admin, self.timelock, "execute", self.vault.address, data)
        return (await send(self.node, [Transaction(self.admin, self.vault.address, data, _GAS)]))[0]

    async def _send(self, sender: str, contract: Contract, function: str, *arguments: object) -> str:
        transaction = Transaction(sender, contract.address, contract.encode(function, *arguments), _GAS)
        return (await send(self.node, [transaction]))[0]

    def _route(self) -> Contract:
        return self.manager if self.world.timelock else self.vault

    def _liquidation(self, h: Holder) -> bytes:
        arguments = (h.account, h.collateral_token, h.index_token, h.is_long, self.liquidator)
        return self.vault.encode("liquidatePosition", *arguments)


async def deploy_meridian(node: DevNode, world: MeridianWorld) -> MeridianDevnet:
    """Deploy a market, fill its pool and write its positions; the node then mines as it did before.

    The node is left impersonating every sender. Raises ``ChainError`` if anything reverts.
    """
    await node.rpc("anvil_autoImpersonateAccount", True)
    head = await node.block()
    async with mined_by_hand(node):
        await node.rpc("evm_setBlockGasLimit", hex(_BLOCK_GAS))
        builder = await Builder.start(node)
        devnet = _lay_out(builder, world, as_int(head["number"]))
        await builder.mine()
        await node.set_balance(devnet.liquidator, 100 * 10**18)
        await _seed(devnet)
        after = await Builder.start(node)
        if world.timelock:
            after.call(devnet.vault, "setGov", devnet.timelock.address)
        await after.mine()
        await node.rpc("evm_setBlockGasLimit", head["gasLimit"])
        await node.set_next_base_fee(as_int(head["baseFeePerGas"]))
        await node.mine()
    return devnet


def _lay_out(builder: Builder, world: MeridianWorld, start_block: int) -> MeridianDevnet:
    """Collect the deployment of every contract, wired together; nothing is sent yet."""
    key = keccak(text="meridian liquidator")
    vault = builder.deploy("VaultSeeding")
    devnet = MeridianDevnet(
        node=builder.node,
        world=world,
        admin=builder.admin,
        vault=vault,
        vault_utils=builder.deploy("VaultUtils", vault.address),
        price_feed=builder.deploy("VaultPriceFeed"),
        fast_feed=builder.deploy("FastPriceFeed"),
        manager=builder.deploy("PositionManager", vault.address),
        timelock=builder.deploy("Timelock", world.margin_fee_basis_points, world.max_margin_fee_basis_points),
        tokens={token.symbol: builder.deploy("Token", token.symbol, token.decimals) for token in world.tokens},
        sources={token.symbol: builder.deploy("Aggregator") for token in world.tokens},
        holders=(),
        liquidator=address_of(key),
        liquidator_key=key,
        start_block=start_block,
    )
    _set_up(builder, devnet)
    for token in world.tokens:
        _list_token(builder, devnet, token)
    return _with_holders(devnet)


def _set_up(builder: Builder, devnet: MeridianDevnet) -> None:
    world, vault, feed = devnet.world, devnet.vault, devnet.price_feed
    for code, text in ERRORS.items():
        builder.call(vault, "setError", code, text)
    builder.call(vault, "setVaultUtils", devnet.vault_utils.address)
    builder.call(vault, "setPriceFeed", feed.address)
    stored_fee = world.max_margin_fee_basis_points if world.timelock else world.margin_fee_basis_points
    builder.call(vault, "setFees", stored_fee, world.liquidation_fee_usd * USD, world.min_profit_time)
    factors = (world.funding_rate_factor, world.stable_funding_rate_factor)
    builder.call(vault, "setFundingRate", world.funding_interval, *factors)
    builder.call(vault, "setMaxLeverage", world.max_leverage)
    builder.call(vault, "setInPrivateLiquidationMode", world.private)
    builder.call(feed, "setPriceSampleSpace", world.sample_space)
    if world.fast:
        builder.call(feed, "setSecondaryPriceFeed", devnet.fast_feed.address)
    if world.timelock:
        builder.call(vault, "setLiquidator", devnet.manager.address, True)
        builder.call(devnet.manager, "setLiquidator", devnet.liquidator, True)
        builder.call(devnet.timelock, "setHandler", devnet.manager.address, True)
    else:
        builder.call(vault, "setLiquidator", devnet.liquidator, True)


def _list_token(builder: Builder, devnet: MeridianDevnet, token: TokenTerms) -> None:
    contract, source = devnet.tokens[token.symbol], devnet.sources[token.symbol]
    settings = (token.decimals, token.min_profit_basis_points, token.is_stable, not token.is_stable)
    builder.call(devnet.vault, "setTokenConfig", contract.address, *settings)
    builder.call(devnet.price_feed, "setTokenConfig", contract.address, source.address, PRICE_DECIMALS, False)
    builder.call(devnet.price_feed, "setSpreadBasisPoints", contract.address, token.spread_basis_points)
    for _ in range(devnet.world.sample_space):
        builder.call(source, "answer", int(token.price_usd * 10**PRICE_DECIMALS))
    pool = int(devnet.world.pool_usd * 10**token.decimals / token.price_usd)
    builder.call(contract, "mint", devnet.vault.address, pool)
    builder.call(devnet.vault, "directPoolDeposit", contract.address)


def _with_holders(devnet: MeridianDevnet) -> MeridianDevnet:
    holders = []
    for number, cohort in enumerate(devnet.world.cohorts):
        index = devnet.tokens[cohort.index].address
        collateral = index if cohort.is_long else devnet.tokens[cohort.collateral].address
        for i in range(cohort.count):
            account = to_checksum_address(keccak(text=f"trader {number} {i}")[-20:])
            packed = b"".join(bytes.fromhex(a[2:]) for a in (account, collateral, index)) + bytes([cohort.is_long])
            key = "0x" + keccak(packed).hex()
            holders.append(Holder(key, account, collateral, index, cohort.is_long, number))
    return replace(devnet, holders=tuple(holders))


async def _seed(devnet: MeridianDevnet) -> None:
    """Write the positions, all in one block."""
    world, node = devnet.world, devnet.node
    terms = {token.symbol: token for token in world.tokens}
    prices = {token.symbol: int(token.price_usd * USD) for token in world.tokens}
    seeds = []
    owed = dict.fromkeys(world.tokens, 0)
    for holder in devnet.holders:
        cohort = world.cohorts[holder.cohort]
        size = cohort.size_usd * USD
        fees = size * world.margin_fee_basis_points // 10_000 + world.liquidation_fee_usd * USD
        collateral = int(size * cohort.distance) + fees
        price = prices[cohort.index]
        if not cohort.is_long:
            owed[terms[cohort.collateral]] += collateral
        seeds.append(
            (holder.account, holder.collateral_token, holder.index_token, holder.is_long, size, collateral, price)
        )
    builder = await Builder.start(node)
    for token, usd in owed.items():
        amount = usd * 10**token.decimals // prices[token.symbol]
        builder.call(devnet.tokens[token.symbol], "mint", devnet.vault.address, amount)
    await builder.mine()
    await node.set_next_base_fee(0)
    encode = load_artifact("VaultSeeding").encode
    batches = [seeds[start : start + _SEED_BATCH] for start in range(0, len(seeds), _SEED_BATCH)]
    vault = devnet.vault.address
    hashes = await send(node, [free(devnet.admin, vault, encode("seed", batch), _SEED_GAS) for batch in batches])
    await node.mine()
    receipts = cast("list[Mapping[str, str]]", await node.rpc("eth_getBlockReceipts", "latest"))
    if sum(receipt["status"] == "0x1" for receipt in receipts) != len(hashes):
        raise ChainError(f"{len(seeds)} positions", "a seeding transaction reverted", "trace it")
