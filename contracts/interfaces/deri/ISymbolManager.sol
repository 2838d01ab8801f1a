// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// The sums over an account's symbols that the pool decides by.
struct AccountSettlement {
    int256 funding;
    int256 deltaTradersPnl;
    int256 traderFunding;
    int256 traderPnl;
    int256 traderMaintenanceMarginRequired;
    int256 traderRealizedCost;
    int256 traderInitialMarginRequired;
    int256 tradeFee;
}

interface ISymbolManager {
    function pool() external view returns (address);

    function initialMarginRequired() external view returns (int256);

    function getSymbolsLength() external view returns (uint256);

    function indexedSymbols(uint256 index) external view returns (address);

    function symbols(bytes32 symbolId) external view returns (address);

    function getActiveSymbols(uint256 pTokenId) external view returns (address[] memory);

    function settleSymbolsOnAddLiquidity(int256 liquidity) external returns (AccountSettlement memory);

    function settleSymbolsOnRemoveLiquidity(int256 liquidity) external returns (AccountSettlement memory);

    function settleSymbolsOnRemoveMargin(uint256 pTokenId, int256 liquidity) external returns (AccountSettlement memory);

    function settleSymbolsOnTrade(
        uint256 pTokenId,
        bytes32 symbolId,
        int256 tradeVolume,
        int256 liquidity,
        int256 priceLimit
    ) external returns (AccountSettlement memory);

    function settleSymbolsOnLiquidate(uint256 pTokenId, int256 liquidity) external returns (AccountSettlement memory);
}
