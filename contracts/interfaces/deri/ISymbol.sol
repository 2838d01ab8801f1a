// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// What settling one symbol for one account gives. The first ten fields, in this order, are what a liquidation
/// answers; a settlement that has no use for a field leaves it zero.
struct SymbolSettlement {
    int256 funding;
    int256 deltaTradersPnl;
    int256 deltaInitialMarginRequired;
    int256 indexPrice;
    int256 traderFunding;
    int256 traderPnl;
    int256 traderMaintenanceMarginRequired;
    int256 tradeVolume;
    int256 tradeCost;
    int256 tradeRealizedCost;
    int256 traderInitialMarginRequired;
    int256 tradeFee;
    /// 1: the trade opened a position, -1: it closed one, 0: neither
    int256 positionChangeStatus;
}

interface ISymbol {
    function symbol() external view returns (string memory);

    function symbolId() external view returns (bytes32);

    function manager() external view returns (address);

    function nPositionHolders() external view returns (uint256);

    /// Brings the symbol up to date for a change of the pool's liquidity. With `lazily`, a symbol whose price and
    /// funding time have hardly moved is left alone.
    function settleOnLiquidity(int256 liquidity, bool lazily) external returns (SymbolSettlement memory);

    /// Funding and present figures of an account whose position is not traded now.
    function settleOnHolding(uint256 pTokenId, int256 liquidity) external returns (SymbolSettlement memory);

    function settleOnTrade(uint256 pTokenId, int256 tradeVolume, int256 liquidity, int256 priceLimit)
        external
        returns (SymbolSettlement memory);

    function settleOnLiquidate(uint256 pTokenId, int256 liquidity) external returns (SymbolSettlement memory);
}
