"""How Deri V3's contracts are spoken to: getters, events, and the call data of ``liquidate``.

Selectors and topics are computed once, at import. Answers of fixed shape are read word by word (ten thousand accounts
are a hundred thousand answers); what has a dynamic shape goes through eth-abi.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Generic, TypeVar

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils import keccak, to_checksum_address

from keeper.errors import ProtocolError
from keeper.model import Log, ReadCall, ReadResult
from keeper.protocols.deri.state import OracleSignature

T_co = TypeVar("T_co", covariant=True)

SIGNATURE_TYPE = "(bytes32,uint256,uint256,uint8,bytes32,bytes32)"
"""``OracleSignature``: oracleSymbolId, timestamp, value, v, r, s."""


# --- words -----------------------------------------------------------------------------------------------------------


def uint_word(value: int) -> bytes:
    """A ``uint256`` argument."""
    return value.to_bytes(32, "big")


@lru_cache(maxsize=4096)
def address_word(address: str) -> bytes:
    """An ``address`` argument."""
    return bytes.fromhex(address.removeprefix("0x")).rjust(32, b"\0")


@lru_cache(maxsize=262_144)
def address_of(word: bytes) -> str:
    """The checksummed address in a 32-byte word."""
    return to_checksum_address(word[12:32])


@lru_cache(maxsize=4096)
def hex_of(word: bytes) -> str:
    """A ``bytes32`` as the ``0x`` string in lower case that names symbols and oracles here."""
    return "0x" + word.hex()


@lru_cache(maxsize=4096)
def word_of(identifier: str) -> bytes:
    """The reverse of ``hex_of``."""
    return bytes.fromhex(identifier.removeprefix("0x"))


def uint_at(data: bytes, index: int) -> int:
    """The unsigned integer in word ``index``."""
    return int.from_bytes(_word(data, index), "big")


def int_at(data: bytes, index: int) -> int:
    """The signed integer (two's complement) in word ``index``."""
    return int.from_bytes(_word(data, index), "big", signed=True)


def address_at(data: bytes, index: int) -> str:
    return address_of(_word(data, index))


def _word(data: bytes, index: int) -> bytes:
    word = data[32 * index : 32 * index + 32]
    if len(word) != 32:
        raise ValueError(f"{len(data)} bytes hold no word {index}")
    return word


def _uint(data: bytes) -> int:
    return uint_at(data, 0)


def _int(data: bytes) -> int:
    return int_at(data, 0)


def _bool(data: bytes) -> bool:
    return uint_at(data, 0) != 0


def _address(data: bytes) -> str:
    return address_at(data, 0)


def _identifier(data: bytes) -> str:
    return hex_of(_word(data, 0))


def _ints3(data: bytes) -> tuple[int, int, int]:
    return int_at(data, 0), int_at(data, 1), int_at(data, 2)


def _uints2(data: bytes) -> tuple[int, int]:
    return uint_at(data, 0), uint_at(data, 1)


def _trader(data: bytes) -> tuple[str, int]:
    return address_at(data, 0), int_at(data, 1)


def _addresses(data: bytes) -> tuple[str, ...]:
    start = uint_at(data, 0) // 32
    return tuple(address_at(data, start + 1 + i) for i in range(uint_at(data, start)))


def _text(data: bytes) -> str:
    try:
        (text,) = decode(["string"], data)
    except (DecodingError, UnicodeDecodeError, OverflowError) as error:
        raise ValueError(str(error)) from None
    return str(text)


# --- getters ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Getter(Generic[T_co]):
    """One view function: how to ask for it, and how to read what comes back."""

    signature: str
    decode: Callable[[bytes], T_co]
    selector: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "selector", keccak(text=self.signature)[:4])

    def at(self, to: str, *words: bytes) -> ReadCall:
        """The call, its arguments given as 32-byte words."""
        return ReadCall(to, self.selector + b"".join(words))

    def optional(self, result: ReadResult) -> T_co | None:
        """The answer; None if the call reverted or what came is not of this shape (an address without code)."""
        if not result.ok:
            return None
        try:
            return self.decode(result.data)
        except ValueError:
            return None

    def answer(self, result: ReadResult, to: str) -> T_co:
        """The answer. Raises ``ProtocolError`` if the call reverted or what came is not of this shape."""
        value = self.optional(result)
        if value is None:
            came = (
                f"it answered {len(result.data)} bytes" if result.ok else f"it reverted ({revert_reason(result.data)})"
            )
            raise ProtocolError(
                f"{to} to answer {self.signature}", came, "check that the address is a Deri V3 contract on this chain"
            )
        return value


# Pool: PoolImplementation, PoolImplementationLite
LIQUIDITY = Getter("liquidity()", _int)
LPS_PNL = Getter("lpsPnl()", _int)
CUMULATIVE_PNL_PER_LIQUIDITY = Getter("cumulativePnlPerLiquidity()", _int)
TD_INFOS = Getter("tdInfos(uint256)", _trader)
SYMBOL_MANAGER = Getter("symbolManager()", _address)
P_TOKEN = Getter("pToken()", _address)
ORACLE_MANAGER = Getter("oracleManager()", _address)
PRIVILEGER = Getter("privileger()", _address)
TOKEN_B0 = Getter("tokenB0()", _address)
DECIMALS_B0 = Getter("decimalsB0()", _uint)
MIN_LIQUIDATION_REWARD = Getter("minLiquidationReward()", _int)
MAX_LIQUIDATION_REWARD = Getter("maxLiquidationReward()", _int)
LIQUIDATION_REWARD_CUT_RATIO = Getter("liquidationRewardCutRatio()", _int)
VAULT_IMPLEMENTATION = Getter("vaultImplementation()", _address)
V_TOKEN_B0 = Getter("vTokenB0()", _address)
V_TOKEN_ETH = Getter("vTokenETH()", _address)
SWAPPER = Getter("swapper()", _address)

# SymbolManager: SymbolManagerImplementation
POOL = Getter("pool()", _address)
SYMBOLS_LENGTH = Getter("getSymbolsLength()", _uint)
INDEXED_SYMBOLS = Getter("indexedSymbols(uint256)", _address)
ACTIVE_SYMBOLS = Getter("getActiveSymbols(uint256)", _addresses)
INITIAL_MARGIN_REQUIRED = Getter("initialMarginRequired()", _int)

# Symbol: SymbolImplementationFutures, SymbolImplementationOption, SymbolImplementationPower
NAME_ID = Getter("nameId()", _identifier)
SYMBOL_NAME = Getter("symbol()", _text)
SYMBOL_ID = Getter("symbolId()", _identifier)
PRICE_ID = Getter("priceId()", _identifier)
VOLATILITY_ID = Getter("volatilityId()", _identifier)
ALPHA = Getter("alpha()", _int)
FUNDING_PERIOD = Getter("fundingPeriod()", _int)
INITIAL_MARGIN_RATIO = Getter("initialMarginRatio()", _int)
MAINTENANCE_MARGIN_RATIO = Getter("maintenanceMarginRatio()", _int)
STARTING_PRICE_SHIFT_LIMIT = Getter("startingPriceShiftLimit()", _int)
STRIKE_PRICE = Getter("strikePrice()", _int)
MIN_INITIAL_MARGIN_RATIO = Getter("minInitialMarginRatio()", _int)
IS_CALL = Getter("isCall()", _bool)
NET_VOLUME = Getter("netVolume()", _int)
NET_COST = Getter("netCost()", _int)
INDEX_PRICE = Getter("indexPrice()", _int)
FUNDING_TIMESTAMP = Getter("fundingTimestamp()", _uint)
CUMULATIVE_FUNDING_PER_VOLUME = Getter("cumulativeFundingPerVolume()", _int)
TRADERS_PNL = Getter("tradersPnl()", _int)
POSITION_HOLDERS = Getter("nPositionHolders()", _uint)
LAST_NET_VOLUME = Getter("lastNetVolume()", _int)
LAST_NET_VOLUME_BLOCK = Getter("lastNetVolumeBlock()", _uint)
POSITIONS = Getter("positions(uint256)", _ints3)
"""volume, cost, cumulativeFundingPerVolume."""

# DToken
TOTAL_MINTED = Getter("totalMinted()", _uint)
OWNER_OF = Getter("getOwnerOf(uint256)", _address)

# OracleManager, OracleOffChain, OracleChainlink, OracleWoo
GET_ORACLE = Getter("getOracle(bytes32)", _address)
ORACLE_TIMESTAMP = Getter("timestamp()", _uint)
ORACLE_VALUE = Getter("value()", _uint)
ORACLE_GET_VALUE = Getter("getValue()", _uint)
ORACLE_SIGNER = Getter("signer()", _address)
DELAY_ALLOWANCE = Getter("delayAllowance()", _uint)
FEED = Getter("feed()", _address)
FEED_DECIMALS = Getter("feedDecimals()", _uint)
AGGREGATOR = Getter("aggregator()", _address)

# Multicall3: block.number as contracts see it
BLOCK_NUMBER = Getter("getBlockNumber()", _uint)

# Privileger: PrivilegerImplementation
DERI = Getter("deri()", _address)
MIN_LOCK_TIME = Getter("minLockTime()", _uint)
MIN_DEPOSIT_AMOUNT = Getter("minDepositAmount()", _uint)
STAKES = Getter("stakes(address,address)", _uint)
STAKE_TIMESTAMPS = Getter("stakeTimestamps(address,address)", _uint)
STAKES_TOTAL = Getter("stakesTotal(address)", _uint)
STAKES_COUNT = Getter("stakesCount(address)", _uint)
IS_QUALIFIED_LIQUIDATOR = Getter("isQualifiedLiquidator(address)", _bool)

# Vault and the lending market behind it
VAULT_LIQUIDITY = Getter("getVaultLiquidity()", _uint)
VAULT_LIQUIDITY_MULTIPLIER = Getter("vaultLiquidityMultiplier()", _uint)
MARKETS_IN = Getter("getMarketsIn()", _addresses)
COMPTROLLER = Getter("comptroller()", _address)
COMPTROLLER_ORACLE = Getter("oracle()", _address)
COMPTROLLER_MARKETS = Getter("markets(address)", _uints2)
"""isListed (as 0 or 1), collateralFactorMantissa."""
UNDERLYING_PRICE = Getter("getUnderlyingPrice(address)", _uint)
EXCHANGE_RATE_STORED = Getter("exchangeRateStored()", _uint)
BALANCE_OF = Getter("balanceOf(address)", _uint)
ALLOWANCE = Getter("allowance(address,address)", _uint)
DECIMALS = Getter("decimals()", _uint)
UNDERLYING = Getter("underlying()", _address)

# Swapper
MAX_SLIPPAGE_RATIO = Getter("maxSlippageRatio()", _uint)
ORACLE_SYMBOL_IDS = Getter("oracleSymbolIds(address)", _identifier)
TOKEN_WETH = Getter("tokenWETH()", _address)


# --- events ----------------------------------------------------------------------------------------------------------


def _topic(signature: str) -> bytes:
    return keccak(text=signature)


TRANSFER = _topic("Transfer(address,address,uint256)")
ADD_MARGIN = _topic("AddMargin(uint256,address,uint256,int256)")
REMOVE_MARGIN = _topic("RemoveMargin(uint256,address,uint256,int256)")
ADD_LIQUIDITY = _topic("AddLiquidity(uint256,address,uint256,int256)")
REMOVE_LIQUIDITY = _topic("RemoveLiquidity(uint256,address,uint256,int256)")
TRADE = _topic("Trade(uint256,bytes32,int256,int256,int256,int256)")
ADD_SYMBOL = _topic("AddSymbol(bytes32,address)")
REMOVE_SYMBOL = _topic("RemoveSymbol(bytes32,address)")
NEW_IMPLEMENTATION = _topic("NewImplementation(address)")
NEW_ORACLE = _topic("NewOracle(bytes32,address)")
NEW_VALUE = _topic("NewValue(uint256,uint256)")
ANSWER_UPDATED = _topic("AnswerUpdated(int256,uint256,uint256)")
DEPOSIT = _topic("Deposit(address,address,uint256)")
WITHDRAW = _topic("Withdraw(address,address,uint256)")

ALL_TOPICS = frozenset(
    {
        TRANSFER,
        ADD_MARGIN,
        REMOVE_MARGIN,
        ADD_LIQUIDITY,
        REMOVE_LIQUIDITY,
        TRADE,
        ADD_SYMBOL,
        REMOVE_SYMBOL,
        NEW_IMPLEMENTATION,
        NEW_ORACLE,
        NEW_VALUE,
        ANSWER_UPDATED,
        DEPOSIT,
        WITHDRAW,
    }
)

LIQUIDATED_FEE = -1
"""``tradeFee`` in the manager's ``Trade`` event of a liquidation."""


@dataclass(frozen=True, slots=True)
class Trade:
    """SymbolManagerImplementation's ``Trade`` event."""

    p_token_id: int
    symbol_id: str
    index_price: int
    volume: int
    cost: int
    fee: int


def is_trade(log: Log, manager: str) -> bool:
    """Whether a log is that symbol manager's ``Trade``, and whole."""
    return log.address == manager and log.topics[:1] == (TRADE,) and len(log.topics) == 3 and len(log.data) >= 128


def trade_of(log: Log) -> Trade:
    """Decode a ``Trade`` log. Raises ``ValueError`` or ``IndexError`` if it is not whole."""
    return Trade(
        int.from_bytes(log.topics[1], "big"),
        hex_of(log.topics[2]),
        int_at(log.data, 0),
        int_at(log.data, 1),
        int_at(log.data, 2),
        int_at(log.data, 3),
    )


# --- reverts ---------------------------------------------------------------------------------------------------------

_ERROR = keccak(text="Error(string)")[:4]
_PANIC = keccak(text="Panic(uint256)")[:4]


def revert_reason(data: bytes) -> str:
    """The revert string, ``Panic(0x..)``, or the raw data of a revert."""
    if data[:4] == _ERROR:
        try:
            return _text(data[4:])
        except ValueError:
            return "0x" + data.hex()
    if data[:4] == _PANIC and len(data) >= 36:
        return f"Panic(0x{uint_at(data[4:], 0):02x})"
    return "0x" + data.hex() if data else "no reason given"


# --- liquidate -------------------------------------------------------------------------------------------------------

LIQUIDATE = keccak(text=f"liquidate(uint256,{SIGNATURE_TYPE}[])")[:4]
_SIGNATURES_OFFSET = uint_word(64)
_SIGNATURES_AT, _SIGNATURE_BYTES = 4 + 3 * 32, 6 * 32


def encode_signature(signature: OracleSignature) -> bytes:
    """One ``OracleSignature`` as its six words: done once per reading, not once per call."""
    return b"".join(
        (
            word_of(signature.oracle_id),
            uint_word(signature.timestamp),
            uint_word(signature.value),
            uint_word(signature.v),
            signature.r,
            signature.s,
        )
    )


def encode_liquidate(p_token_id: int, signatures: Sequence[bytes]) -> bytes:
    """Call data of ``liquidate(pTokenId, oracleSignatures)`` from signatures that ``encode_signature`` made."""
    return b"".join((LIQUIDATE, uint_word(p_token_id), _SIGNATURES_OFFSET, uint_word(len(signatures)), *signatures))


def liquidated_by(data: bytes) -> int | None:
    """The pTokenId that a call of ``liquidate`` is for; None of any other call."""
    return uint_at(data[4:], 0) if data[:4] == LIQUIDATE and len(data) >= _SIGNATURES_AT else None


def signatures_of(data: bytes) -> list[OracleSignature]:
    """The readings in call data that ``encode_liquidate`` made; none in any other."""
    if data[:4] != LIQUIDATE or len(data) < _SIGNATURES_AT:
        return []
    found = []
    for at in range(_SIGNATURES_AT, len(data) - _SIGNATURE_BYTES + 1, _SIGNATURE_BYTES):
        body = data[at : at + _SIGNATURE_BYTES]
        found.append(
            OracleSignature(
                hex_of(body[:32]), uint_at(body, 1), uint_at(body, 2), uint_at(body, 3), body[128:160], body[160:]
            )
        )
    return found
