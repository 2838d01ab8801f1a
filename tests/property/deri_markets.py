"""Random Deri markets from a seed: ordinary ones, and ones with something extreme about them."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from keeper.fixed import ONE
from keeper.protocols.deri.settle import decide
from keeper.protocols.deri.state import (
    AccountState,
    Flavour,
    MarketState,
    OracleKind,
    OracleState,
    PoolState,
    Position,
    Symbol,
    SymbolKind,
    SymbolParams,
    SymbolState,
    VaultMarket,
    VaultState,
)
from keeper.protocols.deri.symbols import Prepared, prepare

NOW = 1_700_000_000
NUMBER = 1_000

ORDINARY = "none"
EXTREMES = (
    "huge volumes", "dust", "tiny prices", "negative margins", "deep options", "low volatility", "high volatility",
    "tiny liquidity", "negative liquidity", "huge funding", "wrapped funding", "at the strike", "expiring",
)  # fmt: skip

_PRICE_DIGITS = {"tiny prices": (1, 12), "dust": (13, 19)}


def random_market(seed: int, extreme: str | None = None) -> MarketState:
    """A market of one to nine symbols and two to seven accounts, some of them within a few units of the threshold."""
    rng = Random(seed)
    extreme = rng.choice((ORDINARY,) * 6 + EXTREMES) if extreme is None else extreme
    oracles = _oracles(rng, extreme)
    symbols = {}
    for index in range(rng.randint(1, 9)):
        symbol = _symbol(rng, extreme, index, oracles)
        symbols[symbol.params.symbol_id] = symbol
    flavour = rng.choice((Flavour.LITE, Flavour.LITE, Flavour.FULL))
    vault_markets = _vault_markets(rng) if flavour is Flavour.FULL else {}
    market = MarketState(
        pool=_pool(rng, extreme, flavour),
        symbols=symbols,
        oracles=oracles,
        accounts={},
        vault_markets=vault_markets,
        privileger=None,
    )
    accounts = {p_token_id: _account(rng, extreme, p_token_id, market) for p_token_id in range(1, rng.randint(3, 8))}
    prepared = prepare(market, NUMBER, NOW + rng.randint(0, 4))
    return replace(market, accounts={key: _near_threshold(rng, prepared, one) for key, one in accounts.items()})


def digits(rng: Random, low: int, high: int) -> int:
    """A positive integer of ``low`` to ``high`` decimal digits, each count as likely."""
    count = rng.randint(low, high)
    return rng.randrange(10 ** (count - 1), 10**count)


def signed(rng: Random, size: int) -> int:
    return size if rng.random() < 0.5 else -size


def _oracles(rng: Random, extreme: str) -> dict[str, OracleState]:
    oracles = {}
    for name in ("A", "B", "C"):
        for oracle_id, value in (
            (f"0x{name}", digits(rng, *_PRICE_DIGITS.get(extreme, (15, 24)))),
            (f"0xvol{name}", {"low volatility": digits(rng, 1, 17), "high volatility": digits(rng, 18, 20)}.get(
                extreme, rng.randrange(ONE // 5, 2 * ONE)
            )),
        ):  # fmt: skip
            aged = extreme == "expiring" and rng.random() < 0.3
            kind = rng.choice((OracleKind.OFFCHAIN, OracleKind.OFFCHAIN, OracleKind.WOO))
            oracles[oracle_id] = OracleState(
                kind=kind,
                oracle_id=oracle_id,
                name=oracle_id[2:],
                address="",
                value=value,
                timestamp=NOW - (600 - rng.randint(-2, 4) if aged else rng.randrange(300)),
                delay_allowance_s=600,
            )
    return oracles


def _symbol(rng: Random, extreme: str, index: int, oracles: dict[str, OracleState]) -> Symbol:
    name = rng.choice("ABC")
    price = oracles[f"0x{name}"].value
    kind = rng.choice((SymbolKind.FUTURES, SymbolKind.OPTION, SymbolKind.POWER))
    if extreme == "deep options":
        kind = SymbolKind.OPTION
    spread = rng.uniform(0.001, 1000) if extreme == "deep options" else rng.uniform(0.7, 1.4)
    strike = price if extreme == "at the strike" else max(int(price * spread), 1)
    params = SymbolParams(
        kind=kind,
        name=f"S{index}",
        symbol_id=f"0x{index}",
        address="",
        price_id=f"0x{name}",
        volatility_id=None if kind is SymbolKind.FUTURES else f"0xvol{name}",
        alpha=rng.randrange(ONE // 100, ONE),
        funding_period_s=rng.choice((86_400, 259_200, 604_800)),
        initial_margin_ratio=ONE // 10,
        maintenance_margin_ratio=rng.randrange(ONE // 100, ONE // 5),
        starting_price_shift_limit=rng.randrange(ONE // 1000, ONE // 10),
        strike_price=strike if kind is SymbolKind.OPTION else 0,
        min_initial_margin_ratio=ONE // 100 if kind is SymbolKind.OPTION else 0,
        is_call=kind is SymbolKind.OPTION and rng.random() < 0.5,
    )
    net = signed(rng, digits(rng, 25, 45) if extreme == "huge volumes" else digits(rng, 10, 24))
    funding = signed(rng, digits(rng, 1, 18 if extreme == "dust" else 28))
    if extreme == "huge funding":
        funding = signed(rng, digits(rng, 30, 62))
    if extreme == "wrapped funding":
        funding = rng.choice((2**255 - 1, -(2**255))) + rng.randint(-(10**20), 10**20)
        funding = max(min(funding, 2**255 - 1), -(2**255))
    state = SymbolState(
        net_volume=net,
        net_cost=net * price // ONE // 10**18 * 10**18,
        index_price=price,
        funding_timestamp=NOW - rng.randrange(0, 100_000),
        cumulative_funding_per_volume=funding,
        traders_pnl=signed(rng, digits(rng, 1, 24)),
        initial_margin_required=digits(rng, 1, 24),
        n_position_holders=5,
        last_net_volume=net + (signed(rng, digits(rng, 10, 22)) if rng.random() < 0.5 else 0),
        last_net_volume_block=rng.choice((NUMBER - 10, NUMBER)),
    )
    return Symbol(params, state)


def _pool(rng: Random, extreme: str, flavour: Flavour) -> PoolState:
    liquidity = digits(rng, 23, 26)
    if extreme == "tiny liquidity":
        liquidity = digits(rng, 1, 18)
    if extreme == "negative liquidity":
        liquidity = rng.choice((0, -digits(rng, 1, 24)))
    return PoolState(
        flavour=flavour,
        liquidity=liquidity,
        lps_pnl=signed(rng, digits(rng, 1, 22)) if extreme != "tiny liquidity" else 0,
        cumulative_pnl_per_liquidity=signed(rng, digits(rng, 1, 20)),
        min_liquidation_reward=digits(rng, 17, 20),
        max_liquidation_reward=digits(rng, 20, 22),
        liquidation_reward_cut_ratio=rng.randrange(0, ONE),
        decimals_b0=18 if flavour is Flavour.LITE else rng.choice((6, 8, 18, 20)),
        vault_liquidity_multiplier=rng.choice((ONE, ONE * 5 // 4)),
    )


def _vault_markets(rng: Random) -> dict[str, VaultMarket]:
    return {
        f"v{index}": VaultMarket(
            v_token=f"v{index}",
            underlying=f"u{index}",
            exchange_rate_stored=rng.randrange(ONE // 50, 2 * ONE),
            oracle_price=digits(rng, 17, 22),
            collateral_factor=rng.randrange(ONE // 2, ONE),
            is_base=index == 0,
        )
        for index in range(3)
    }


def _account(rng: Random, extreme: str, p_token_id: int, market: MarketState) -> AccountState:
    positions = []
    held = rng.sample(list(market.symbols.values()), rng.randint(0, len(market.symbols)))
    for symbol in held:
        price = market.oracles[symbol.params.price_id].value
        volume = digits(rng, 12, 21)
        if extreme == "huge volumes":
            volume = digits(rng, 22, 48)
        if extreme == "dust":
            volume = digits(rng, 1, 9)
        volume = signed(rng, volume)
        owed = signed(rng, digits(rng, 1, 15 if extreme == "dust" else 22))
        funding = symbol.state.cumulative_funding_per_volume + owed
        if not -(2**255) <= funding < 2**255:
            funding -= 2**256 if funding > 0 else -(2**256)
        cost = volume * price // ONE * rng.randrange(50, 150) // 100
        positions.append(Position(symbol.params.symbol_id, volume, cost, funding))
    vault = None
    if market.vault_markets and rng.random() < 0.8:
        entered = rng.sample(sorted(market.vault_markets), rng.randint(1, 3))
        balances = tuple((v_token, digits(rng, 1, 5 if extreme == "dust" else 22)) for v_token in entered)
        vault = VaultState("", balances, liquidity=digits(rng, 1, 23) if rng.random() < 0.2 else None)
    amount = digits(rng, 1, 24)
    if extreme == "negative margins":
        amount = -amount
    return AccountState(p_token_id, "0x", amount, tuple(positions), vault)


def _near_threshold(rng: Random, prepared: Prepared, account: AccountState) -> AccountState:
    """Move most accounts to within a few units of their threshold at one second, where there is one."""
    if rng.random() < 0.25:
        return account
    decision = decide(prepared, account)
    if not decision.settled:
        return account
    slack = decision.margin - decision.required
    off = rng.choice((-1, 0, 1, rng.randint(-20, 20), signed(rng, digits(rng, 1, 14))))
    return replace(account, amount_b0=account.amount_b0 - slack + off)
