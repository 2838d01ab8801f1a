"""A Deri V3 market on a development node: deployed from a ``DeriWorld``, and moved by its people.

Actions (``add_margin``, ``trade``, ``stake`` ...) send a transaction and answer its hash without waiting for it;
``confirm`` waits and raises if one reverted. They are sent from the people's own accounts, which the node impersonates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from eth_utils.address import to_checksum_address

from keeper.devnet.artifacts import Contract, load_artifact
from keeper.devnet.builder import DEPLOY_GAS
from keeper.devnet.deri_traders import Trader
from keeper.devnet.deri_vaults import ZERO_ADDRESS, Lending
from keeper.devnet.deri_world import DeriWorld, Futures, Power, Rules, SymbolSpec, volatility_name
from keeper.devnet.oracle_server import OracleServer, Reading, symbol_id
from keeper.devnet.rpc import Call, DevNode, Json, RpcError, as_bytes, as_int
from keeper.devnet.transactions import Transaction, confirm, created_address, next_nonces, reason_text, send
from keeper.errors import ConfigError

ETH = 10**18
FEED_UNIT = 10**10
"""Feeds on chain have 8 decimals."""
ANYBODY = "0x600160005260206000f3"
"""Code that answers true to every call: PUSH1 1, PUSH1 0, MSTORE, PUSH1 32, PUSH1 0, RETURN."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account as the chain has it. Positions are (volume, cost, cumulativeFundingPerVolume), all in 1e18."""

    p_token_id: int
    amount_b0: int
    vault: str | None
    """None: it has no vault; always so in a Lite pool."""
    active_symbols: tuple[str, ...]
    positions: Mapping[str, tuple[int, int, int]]


@dataclass(frozen=True, slots=True)
class DeriDevnet:
    """A deployed market: where everything is, who takes part, and what they can do."""

    node: DevNode
    world: DeriWorld
    oracle: OracleServer
    """The signed prices. ``oracle.move`` moves them; ``move_prices`` moves those on chain as well."""
    admin: str
    pool: Contract
    symbol_manager: Contract
    p_token: Contract
    l_token: Contract
    oracle_manager: Contract
    privileger: Contract | None
    token_b0: Contract
    token_deri: Contract
    symbols: Mapping[str, Contract]
    """By name."""
    oracles: Mapping[str, Contract]
    """By name of what they read."""
    feeds: Mapping[str, Contract]
    """What moves the prices that are not signed: Chainlink aggregators and Woo feeds, by name."""
    lending: Lending | None
    """The lending protocol that a full pool's vaults are in."""
    traders: tuple[Trader, ...]
    stakers: tuple[str, ...]
    """Others who have staked; the first is qualified once the lock is over."""
    liquidator: str
    liquidator_key: bytes = field(repr=False)
    liquidity_provider: str
    start_block: int
    """The block before the first of the deployment."""

    def describe(self) -> dict[str, object]:
        """Everything that another process may want to know of it; no keys."""
        return {
            "rpc": self.node.http_url,
            "websocket": self.node.ws_url,
            "price_server": self.oracle.url,
            "start_block": self.start_block,
            "addresses": {
                "pool": self.pool.address,
                "symbol_manager": self.symbol_manager.address,
                "p_token": self.p_token.address,
                "l_token": self.l_token.address,
                "oracle_manager": self.oracle_manager.address,
                "privileger": self.privileger.address if self.privileger else None,
                "token_b0": self.token_b0.address,
                "token_deri": self.token_deri.address,
            },
            "symbols": {name: contract.address for name, contract in self.symbols.items()},
            "oracles": {name: contract.address for name, contract in self.oracles.items()},
            "admin": self.admin,
            "liquidator": self.liquidator,
            "stakers": list(self.stakers),
            "traders": [
                {"p_token_id": trader.p_token_id, "owner": trader.owner, "cohort": trader.cohort}
                for trader in self.traders
            ],
        }

    # --- looking

    def cohort(self, name: str) -> list[Trader]:
        """The traders of a cohort, in the order of their ids."""
        return [trader for trader in self.traders if trader.cohort == name]

    async def readings(self, names: Iterable[str] | None = None) -> list[Reading]:
        """The present prices, signed; all that are signed unless named."""
        return [await self.oracle.reading(name) for name in (self.oracle.values_e18 if names is None else names)]

    async def token_b0_balance(self, address: str, tag: str | int = "latest") -> int:
        """What somebody has of B0, in its own decimals."""
        return await self.token_b0.read_int(self.node, "balanceOf", address, tag=tag)

    def raw_b0(self, amount_b0: int) -> int:
        """An amount in 1e18 in B0's own decimals."""
        return amount_b0 // 10 ** (18 - self.world.vaults.decimals_b0) if self.world.vaults else amount_b0

    def in_b0(self, amount: int) -> tuple[int] | tuple[str, int]:
        """An amount as the pool's functions take it: a full pool wants to be told of what."""
        return (self.token_b0.address, amount) if self.lending else (amount,)

    async def accounts(self, p_token_ids: Sequence[int] | None = None, *, tag: str | int = "latest") -> list[Account]:
        """Accounts as of one block; all traders unless given."""
        ids = [trader.p_token_id for trader in self.traders] if p_token_ids is None else p_token_ids
        at = tag if isinstance(tag, str) else hex(tag)
        names = {contract.address: name for name, contract in self.symbols.items()}
        calls = []
        for p_token_id in ids:
            calls.append(_call(self.pool, "tdInfos", p_token_id, tag=at))
            calls.append(_call(self.symbol_manager, "getActiveSymbols", p_token_id, tag=at))
        heads = [as_bytes(answer) for answer in await self.node.batch(calls)]
        infos = [cast("tuple[str, int]", self.pool.artifact.decode("tdInfos", data)) for data in heads[::2]]
        active = [_names(self.symbol_manager.artifact.decode("getActiveSymbols", d)[0], names) for d in heads[1::2]]
        held = [(id_, name) for id_, symbols in zip(ids, active, strict=True) for name in symbols]
        answers = await self.node.batch([_call(self.symbols[n], "positions", id_, tag=at) for id_, n in held])
        positions: dict[int, dict[str, tuple[int, int, int]]] = {id_: {} for id_ in ids}
        for (id_, name), answer in zip(held, answers, strict=True):
            values = self.symbols[name].artifact.decode("positions", as_bytes(answer))
            positions[id_][name] = cast("tuple[int, int, int]", values)
        return [
            Account(
                id_, amount_b0, None if int(vault, 16) == 0 else to_checksum_address(vault), symbols, positions[id_]
            )
            for id_, (vault, amount_b0), symbols in zip(ids, infos, active, strict=True)
        ]

    async def verdicts(
        self,
        p_token_ids: Sequence[int] | None = None,
        *,
        tag: str | int = "latest",
        at: int | None = None,
        readings: Sequence[Reading] | None = None,
    ) -> dict[int, str | None]:
        """What the chain itself says to ``liquidate`` for each account: None if it would succeed, else the reason.

        Asked by ``eth_call`` on the state of block ``tag``, as the first transaction of the block after it, at
        timestamp ``at`` (a second after that block if None), by a caller who counts as qualified. ``readings`` are
        the signatures handed in; the present prices if None.
        """
        ids = [trader.p_token_id for trader in self.traders] if p_token_ids is None else p_token_ids
        signatures = [r.as_tuple() for r in (await self.readings() if readings is None else readings)]
        block = await self.node.block(tag)
        number, timestamp = as_int(block["number"]), as_int(block["timestamp"])
        overrides: dict[str, Json] = {self.privileger.address: {"code": ANYBODY}} if self.privileger else {}
        next_block: dict[str, Json] = {
            "number": hex(number + 1),
            "time": hex(timestamp + 1 if at is None else at),
        }
        calls: list[Call] = []
        # The accounts' calls differ in the first argument's word only, and encoding is what takes time.
        encoded = self.pool.encode("liquidate", 0, signatures)
        selector, rest = encoded[:4].hex(), encoded[36:].hex()
        for id_ in ids:
            data = f"0x{selector}{id_:064x}{rest}"
            request: dict[str, Json] = {"from": self.admin, "to": self.pool.address, "data": data}
            calls.append(("eth_call", [request, hex(number), overrides, next_block]))
        answers = await self.node.try_batch(calls)
        return {
            id_: reason_text(answer.data) if isinstance(answer, RpcError) else None
            for id_, answer in zip(ids, answers, strict=True)
        }

    async def liquidatable(
        self,
        p_token_ids: Sequence[int] | None = None,
        *,
        tag: str | int = "latest",
        at: int | None = None,
        readings: Sequence[Reading] | None = None,
    ) -> set[int]:
        """The ids of the accounts that could be liquidated; asked like ``verdicts``."""
        verdicts = await self.verdicts(p_token_ids, tag=tag, at=at, readings=readings)
        return {id_ for id_, reason in verdicts.items() if reason is None}

    # --- acting

    async def confirm(self, *hashes: str) -> list[Mapping[str, Json]]:
        """Wait until these are mined; their receipts. Raises ``ChainError`` if one reverted."""
        return await confirm(self.node, hashes)

    async def move_prices(self, values_e18: Mapping[str, int]) -> list[str]:
        """Move prices: signed ones at once, those on chain by transactions, whose hashes are the answer.

        The lending protocol and the swapper of a full pool follow the prices of its collaterals.
        """
        self.oracle.move({name: value for name, value in values_e18.items() if name not in self.feeds})
        calls = []
        for name, feed in self.feeds.items():
            if name in values_e18:
                function = "transmit" if name in self.world.chainlink else "set"
                calls.append((feed, feed.encode(function, values_e18[name] // FEED_UNIT)))
        if self.lending:
            calls += self.lending.price_calls(values_e18)
        return await send(self.node, [Transaction(self.admin, contract.address, data) for contract, data in calls])

    async def add_margin(self, owner: str, amount: int, collateral: str = "B0") -> str:
        """Pay in margin, freshly minted, in its own decimals; somebody without a pToken gets one."""
        if self.lending and collateral not in self.lending.tokens:
            await self.node.set_balance(owner, amount + ETH)
            data = self.pool.encode("addMargin", ZERO_ADDRESS, amount, [])
            return await self._send(Transaction(owner, self.pool.address, data, value_wei=amount))
        token = self.lending.tokens[collateral] if self.lending else self.token_b0
        arguments = (token.address, amount) if self.lending else (amount,)
        await self.node.set_balance(owner, ETH)
        return await self._send(
            Transaction(owner, token.address, token.encode("mint", owner, amount)),
            Transaction(owner, token.address, token.encode("approve", self.pool.address, amount)),
            Transaction(owner, self.pool.address, self.pool.encode("addMargin", *arguments, [])),
        )

    async def remove_margin(self, owner: str, amount_b0: int, readings: Sequence[Reading] | None = None) -> str:
        """Take margin out, at the present prices unless given."""
        return await self._pool_call(owner, readings, "removeMargin", *self.in_b0(amount_b0))

    async def trade(
        self,
        owner: str,
        symbol: str,
        volume_e18: int,
        *,
        price_limit_e18: int | None = None,
        readings: Sequence[Reading] | None = None,
    ) -> str:
        """Trade, at the present prices unless given, and at any price unless limited."""
        if price_limit_e18 is None:
            price_limit_e18 = 10**60 if volume_e18 > 0 else 0
        return await self._pool_call(owner, readings, "trade", symbol, volume_e18, price_limit_e18)

    async def liquidate(
        self,
        caller: str,
        p_token_id: int,
        *,
        readings: Sequence[Reading] | None = None,
        tip_per_gas_wei: int = 10**9,
    ) -> str:
        """Liquidate by hand: for a rival, use ``stakers[0]``."""
        return await self._pool_call(caller, readings, "liquidate", p_token_id, tip_per_gas_wei=tip_per_gas_wei)

    async def add_liquidity(self, amount_b0: int, readings: Sequence[Reading] | None = None) -> str:
        """Have the liquidity provider put more in, freshly minted."""
        provider, token = self.liquidity_provider, self.token_b0
        await self._send(
            Transaction(provider, token.address, token.encode("mint", provider, amount_b0)),
            Transaction(provider, token.address, token.encode("approve", self.pool.address, amount_b0)),
        )
        return await self._pool_call(provider, readings, "addLiquidity", *self.in_b0(amount_b0))

    async def remove_liquidity(self, amount_b0: int, readings: Sequence[Reading] | None = None) -> str:
        """Have the liquidity provider take some out."""
        return await self._pool_call(self.liquidity_provider, readings, "removeLiquidity", *self.in_b0(amount_b0))

    async def push_prices(self, readings: Sequence[Reading] | None = None) -> list[str]:
        """Write readings to the oracles on chain: the present prices unless given."""
        updates = [
            Transaction(
                self.admin, self.oracle_manager.address, self.oracle_manager.encode("updateValue", *reading.as_tuple())
            )
            for reading in (await self.readings() if readings is None else readings)
        ]
        return await send(self.node, updates)

    async def stake(self, user: str, amount_deri: int) -> str:
        """Deposit DERI that the user has (``mint_deri``) at the privileger."""
        privileger, token = self._privileger(), self.token_deri
        return await self._send(
            Transaction(user, token.address, token.encode("approve", privileger.address, amount_deri)),
            Transaction(user, privileger.address, privileger.encode("deposit", amount_deri)),
        )

    async def withdraw_stake(self, user: str, amount_deri: int) -> str:
        """Take DERI back from the privileger."""
        privileger = self._privileger()
        return await self._send(Transaction(user, privileger.address, privileger.encode("withdraw", amount_deri)))

    async def mint_deri(self, user: str, amount_deri: int) -> str:
        """Make DERI out of nothing."""
        return await self._send(
            Transaction(self.admin, self.token_deri.address, self.token_deri.encode("mint", user, amount_deri))
        )

    async def upgrade_symbol(self, symbol: SymbolSpec) -> str:
        """Give a symbol of that name a new implementation with other terms (``NewImplementation``)."""
        init_code = symbol_init_code(symbol, self.symbol_manager.address, self.oracle_manager.address)
        return await self._upgrade(self.symbols[symbol.name], init_code)

    async def upgrade_pool(self, rules: Rules) -> str:
        """Give the pool a new implementation with other rules (``NewImplementation``)."""
        return await self._upgrade(self.pool, self.pool_init_code(rules))

    def pool_init_code(self, rules: Rules, *, seedable: bool = False) -> bytes:
        """The deployment of the pool's implementation."""
        artifact = self.pool.artifact
        if seedable:
            artifact = load_artifact("SeedablePool" if self.lending else "SeedablePoolLite", "PoolSeeding.sol")
        vaults = [self.lending.parts()] if self.lending else []
        return artifact.deployment(self.parts(), rules.as_tuple(), *vaults)

    def parts(self) -> tuple[str, str, str, str, str, str]:
        """What the pool's constructor is told of the other contracts (PoolBase.Parts)."""
        return (
            self.token_b0.address,
            self.l_token.address,
            self.p_token.address,
            self.oracle_manager.address,
            self.symbol_manager.address,
            self.privileger.address if self.privileger else ZERO_ADDRESS,
        )

    async def _upgrade(self, proxy: Contract, init_code: bytes) -> str:
        nonce = (await next_nonces(self.node, {self.admin}))[self.admin]
        implementation = created_address(self.admin, nonce)
        set_implementation = load_artifact("Proxy").encode("setImplementation", implementation)
        return await self._send(
            Transaction(self.admin, None, init_code, gas=DEPLOY_GAS),
            Transaction(self.admin, proxy.address, set_implementation),
        )

    async def _pool_call(
        self,
        sender: str,
        readings: Sequence[Reading] | None,
        function: str,
        *arguments: object,
        tip_per_gas_wei: int = 10**9,
    ) -> str:
        signatures = [r.as_tuple() for r in (await self.readings() if readings is None else readings)]
        data = self.pool.encode(function, *arguments, signatures)
        return await self._send(Transaction(sender, self.pool.address, data, tip_per_gas_wei=tip_per_gas_wei))

    async def _send(self, *transactions: Transaction) -> str:
        """Send transactions of one sender; the last one's hash."""
        return (await send(self.node, transactions))[-1]

    def _privileger(self) -> Contract:
        if self.privileger is None:
            raise ConfigError("a market with a privileger", "this one has none", "deploy with privileged=True")
        return self.privileger


def symbol_init_code(symbol: SymbolSpec, manager: str, oracle_manager: str, *, seedable: bool = False) -> bytes:
    """The deployment of a symbol's implementation."""
    kind = type(symbol).__name__
    artifact = (
        load_artifact(f"Seedable{kind}", "SymbolSeeding.sol")
        if seedable
        else load_artifact(f"SymbolImplementation{kind}")
    )
    price_id, volatility_id = symbol_id(symbol.underlying.name), symbol_id(volatility_name(symbol.underlying))
    terms = symbol.terms.as_tuple()
    if isinstance(symbol, Futures):
        return artifact.deployment(manager, oracle_manager, terms, symbol.fee_ratio_e18)
    if isinstance(symbol, Power):
        return artifact.deployment(manager, oracle_manager, terms, price_id, volatility_id, symbol.fee_ratio_e18)
    option = (
        price_id,
        volatility_id,
        symbol.strike_e18,
        symbol.is_call,
        symbol.fee_ratio_itm_e18,
        symbol.fee_ratio_otm_e18,
        symbol.min_initial_margin_ratio_e18,
    )
    return artifact.deployment(manager, oracle_manager, terms, option)


def _call(contract: Contract, function: str, *arguments: object, tag: str) -> Call:
    return "eth_call", [{"to": contract.address, "data": "0x" + contract.encode(function, *arguments).hex()}, tag]


def _names(addresses: object, names: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(names[to_checksum_address(address)] for address in cast("Sequence[str]", addresses))
