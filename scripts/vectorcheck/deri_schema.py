"""Deri snapshots (``deri-v3-liquidate-vectors/1``, and the end states of ``deri-v3-event-logs/1``) as engine state."""

from __future__ import annotations

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from keeper.protocols.deri.state import (
    AccountState,
    Flavour,
    MarketState,
    OracleKind,
    OracleSignature,
    OracleState,
    PoolState,
    Position,
    PrivilegerState,
    Stake,
    Symbol,
    SymbolKind,
    SymbolParams,
    SymbolState,
    VaultMarket,
    VaultState,
)
from scripts.vectorcheck.document import MalformedError, Node


def symbol_id(name: str) -> str:
    return "0x" + keccak(text=name).hex()


def market(snapshot: Node) -> MarketState:
    """The market as of the snapshot's ``state``."""
    symbols = [_symbol(node) for node in snapshot["symbols"]]
    oracles = [_oracle(node) for node in snapshot["oracles"]]
    pool = _pool(snapshot)
    accounts = [_account(node) for node in snapshot["accounts"] if node["exists"].flag]
    markets = snapshot.get("vaultMarkets")
    return MarketState(
        pool=pool,
        symbols={symbol.params.symbol_id: symbol for symbol in symbols},
        oracles={oracle.oracle_id: oracle for oracle in oracles},
        accounts={account.p_token_id: account for account in accounts},
        vault_markets={
            one.v_token: one
            for one in (_vault_market(node, snapshot["pool"]["tokenB0"].text) for node in markets or ())
        },
        privileger=_privileger(snapshot["privileger"]),
    )


def signatures(snapshot: Node) -> list[OracleSignature]:
    return [
        OracleSignature(
            oracle_id=node["symbolId"].text.lower(),
            timestamp=node["timestamp"].integer,
            value=node["value"].integer,
            v=node["v"].integer,
            r=node["r"].raw,
            s=node["s"].raw,
        )
        for node in snapshot["signatures"]
    ]


def _pool(snapshot: Node) -> PoolState:
    node = snapshot["pool"]
    try:
        flavour = Flavour(snapshot["mode"].text)
    except ValueError:
        raise MalformedError(
            f"{snapshot.path}.mode: expected lite or full, but came {snapshot['mode'].text!r}"
        ) from None
    multiplier = node.get("vaultLiquidityMultiplier")
    return PoolState(
        flavour=flavour,
        liquidity=node["liquidity"].integer,
        lps_pnl=node["lpsPnl"].integer,
        cumulative_pnl_per_liquidity=node["cumulativePnlPerLiquidity"].integer,
        min_liquidation_reward=node["minLiquidationReward"].integer,
        max_liquidation_reward=node["maxLiquidationReward"].integer,
        liquidation_reward_cut_ratio=node["liquidationRewardCutRatio"].integer,
        decimals_b0=node["decimalsB0"].integer,
        vault_liquidity_multiplier=10**18 if multiplier is None else multiplier.integer,
        initial_margin_required=node["symbolManagerInitialMarginRequired"].integer,
    )


def _symbol(node: Node) -> Symbol:
    try:
        kind = SymbolKind(node["kind"].text)
    except ValueError:
        kind = SymbolKind.UNKNOWN
    volatility = node.get("volatilityId")
    option = kind is SymbolKind.OPTION
    params = SymbolParams(
        kind=kind,
        name=node["name"].text,
        symbol_id=node["symbolId"].text.lower(),
        address=node["address"].text,
        price_id=node["priceId"].text.lower(),
        volatility_id=None if volatility is None else volatility.text.lower(),
        alpha=node["alpha"].integer,
        funding_period_s=node["fundingPeriod"].integer,
        initial_margin_ratio=node["initialMarginRatio"].integer,
        maintenance_margin_ratio=node["maintenanceMarginRatio"].integer,
        starting_price_shift_limit=node["startingPriceShiftLimit"].integer,
        strike_price=node["strikePrice"].integer if option else 0,
        min_initial_margin_ratio=node["minInitialMarginRatio"].integer if option else 0,
        is_call=node["isCall"].flag if option else False,
    )
    state = SymbolState(
        net_volume=node["netVolume"].integer,
        net_cost=node["netCost"].integer,
        index_price=node["indexPrice"].integer,
        funding_timestamp=node["fundingTimestamp"].integer,
        cumulative_funding_per_volume=node["cumulativeFundingPerVolume"].integer,
        traders_pnl=node["tradersPnl"].integer,
        initial_margin_required=node["initialMarginRequired"].integer,
        n_position_holders=node["nPositionHolders"].integer,
        last_net_volume=node["lastNetVolume"].integer,
        last_net_volume_block=node["lastNetVolumeBlock"].integer,
    )
    return Symbol(params, state)


def _oracle(node: Node) -> OracleState:
    return OracleState(
        kind=OracleKind.OFFCHAIN,
        oracle_id=node["symbolId"].text.lower(),
        name=node["symbol"].text,
        address="",
        value=node["value"].integer,
        timestamp=node["timestamp"].integer,
        delay_allowance_s=node["delayAllowance"].integer,
        signer=to_checksum_address(node["signer"].text),
    )


def _vault_market(node: Node, token_b0: str) -> VaultMarket:
    swap_oracle = node.get("swapOracle")
    slippage = node.get("swapMaxSlippage")
    underlying = node["underlying"].text
    return VaultMarket(
        v_token=node["vToken"].text,
        underlying=underlying,
        exchange_rate_stored=node["exchangeRateStored"].integer,
        oracle_price=node["venusPrice"].integer,
        collateral_factor=node["collateralFactor"].integer,
        is_base=underlying.lower() == token_b0.lower(),
        swap_oracle_id=None if swap_oracle is None else symbol_id(swap_oracle.text),
        max_slippage_ratio=0 if slippage is None else slippage.integer,
    )


def _account(node: Node) -> AccountState:
    held = node["positions"]
    vault = node.get("vault")
    positions = []
    for name in node["activeSymbols"]:
        position = held[name.text]
        positions.append(
            Position(
                symbol_id=symbol_id(name.text),
                volume=position["volume"].integer,
                cost=position["cost"].integer,
                cumulative_funding_per_volume=position["cumulativeFundingPerVolume"].integer,
            )
        )
    return AccountState(
        p_token_id=node["pTokenId"].integer,
        owner=node["owner"].text,
        amount_b0=node["amountB0"].integer,
        positions=tuple(positions),
        vault=None
        if vault is None
        else VaultState(
            address=vault["address"].text,
            balances=tuple((entry["vToken"].text, entry["vTokenBalance"].integer) for entry in vault["markets"]),
        ),
    )


def _privileger(node: Node) -> PrivilegerState:
    return PrivilegerState(
        min_lock_time_s=node["minLockTime"].integer,
        min_deposit_amount=0,
        stakes_total=node["stakesTotal"].integer,
        stakes_count=node["stakesCount"].integer,
        stakes={
            entry["address"].text: Stake(entry["stake"].integer, entry["stakeTimestamp"].integer)
            for entry in node["liquidators"]
        },
    )
