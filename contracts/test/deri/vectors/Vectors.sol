// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {OracleSignature} from "../../../interfaces/deri/IOracleManager.sol";

// Recorded outcomes of the real contracts, as `tools/unpack-vectors` encodes them.

uint256 constant FUTURES = 0;
uint256 constant OPTION = 1;
uint256 constant POWER = 2;

uint256 constant UNQUALIFIED = 0;
uint256 constant QUALIFIED = 1;
uint256 constant LOCKED = 2;

struct PoolVector {
    int256 poolInitialMarginMultiplier;
    int256 protocolFeeCollectRatio;
    int256 minLiquidationReward;
    int256 maxLiquidationReward;
    int256 liquidationRewardCutRatio;
    int256 liquidity;
    int256 lpsPnl;
    int256 cumulativePnlPerLiquidity;
    int256 protocolFeeAccrued;
    int256 symbolManagerInitialMarginRequired;
    uint256 decimalsB0;
    uint256 vaultLiquidityMultiplier;
}

struct SymbolVector {
    string name;
    uint256 kind;
    bytes32 priceId;
    bytes32 volatilityId;
    int256 alpha;
    int256 fundingPeriod;
    int256 minTradeVolume;
    int256 initialMarginRatio;
    int256 maintenanceMarginRatio;
    int256 pricePercentThreshold;
    uint256 timeThreshold;
    int256 startingPriceShiftLimit;
    bool isCloseOnly;
    int256 feeRatio;
    int256 feeRatioITM;
    int256 feeRatioOTM;
    int256 strikePrice;
    int256 minInitialMarginRatio;
    bool isCall;
    SymbolState state;
}

struct SymbolState {
    int256 netVolume;
    int256 netCost;
    int256 indexPrice;
    uint256 fundingTimestamp;
    int256 cumulativeFundingPerVolume;
    int256 tradersPnl;
    int256 initialMarginRequired;
    uint256 nPositionHolders;
    int256 lastNetVolume;
    uint256 lastNetVolumeBlock;
}

struct OracleVector {
    string symbol;
    uint256 value;
    uint256 timestamp;
    uint256 delayAllowance;
    address signer;
}

struct LiquidatorVector {
    address account;
    uint256 stake;
    uint256 stakeTimestamp;
    uint256 qualifiedAtExec;
}

struct PrivilegerVector {
    uint256 minLockTime;
    uint256 stakesTotal;
    uint256 stakesCount;
    LiquidatorVector[] liquidators;
}

struct MarketVector {
    address vToken;
    address underlying;
    bool isB0;
    uint256 exchangeRateStored;
    uint256 venusPrice;
    uint256 collateralFactor;
    uint256 swapPrice;
    uint256 swapFeeBps;
    string swapOracle;
    uint256 swapMaxSlippage;
}

struct PositionVector {
    string symbol;
    int256 volume;
    int256 cost;
    int256 cumulativeFundingPerVolume;
}

struct BalanceVector {
    address vToken;
    uint256 vTokenBalance;
}

struct AccountVector {
    uint256 pTokenId;
    bool exists;
    address owner;
    int256 amountB0;
    PositionVector[] positions;
    BalanceVector[] vault;
    uint256 vaultLiquidity;
}

struct SettlementVector {
    int256 funding;
    int256 deltaTradersPnl;
    int256 traderFunding;
    int256 traderPnl;
    int256 traderMaintenanceMarginRequired;
    int256 traderRealizedCost;
}

struct RedemptionVector {
    address underlying;
    uint256 redeemed;
    uint256 resultB0;
}

struct OutcomeVector {
    uint256 pTokenId;
    bool liquidatable;
    string revertReason;
    uint256 reward;
    uint256 gasUsed;
    bool settled;
    int256 margin;
    SettlementVector settlement;
    int256[][] perSymbol;
    uint256 vaultLiquidityAtExec;
    RedemptionVector[] redemptions;
    int256 lpsPnlAfter;
    int256 cumulativePnlPerLiquidityAfter;
}

struct StepVector {
    uint256 pTokenId;
    bool liquidatable;
    string revertReason;
    uint256 reward;
}

struct Snapshot {
    string id;
    bool full;
    uint256 execNumber;
    uint256 execTimestamp;
    PoolVector pool;
    SymbolVector[] symbols;
    OracleVector[] oracles;
    OracleSignature[] signatures;
    PrivilegerVector privileger;
    MarketVector[] markets;
    AccountVector[] accounts;
    OutcomeVector[] outcomes;
    StepVector[] steps;
}
