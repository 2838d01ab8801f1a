// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

/// What the parts of a Meridian market ask of each other. Getters and events carry the names that GMX v1 gave them, so
/// that a keeper written against this market reads a real one.

interface IVaultPriceFeed {
    function getPrice(address token, bool maximise, bool includeAmmPrice, bool useSwapPricing)
        external
        view
        returns (uint256);
}

interface ISecondaryPriceFeed {
    function getPrice(address token, uint256 referencePrice, bool maximise) external view returns (uint256);
}

interface IAggregator {
    function latestAnswer() external view returns (int256);
    function latestRound() external view returns (uint80);
    function getRoundData(uint80 roundId) external view returns (uint80, int256, uint256, uint256, uint80);
}

interface IVaultUtils {
    function getPositionFee(uint256 size) external view returns (uint256);
    function getFundingFee(address collateralToken, uint256 size, uint256 entryFundingRate)
        external
        view
        returns (uint256);
    function validateLiquidation(
        address account,
        address collateralToken,
        address indexToken,
        bool isLong,
        bool raiseError
    ) external view returns (uint256 state, uint256 marginFees);
}

interface IVault {
    function gov() external view returns (address);
    function maxLeverage() external view returns (uint256);
    function liquidationFeeUsd() external view returns (uint256);
    function marginFeeBasisPoints() external view returns (uint256);
    function minProfitTime() external view returns (uint256);
    function cumulativeFundingRates(address token) external view returns (uint256);
    function getMinPrice(address token) external view returns (uint256);
    function getMaxPrice(address token) external view returns (uint256);
    function getDelta(address indexToken, uint256 size, uint256 averagePrice, bool isLong, uint256 lastIncreasedTime)
        external
        view
        returns (bool hasProfit, uint256 delta);
    function getPosition(address account, address collateralToken, address indexToken, bool isLong)
        external
        view
        returns (
            uint256 size,
            uint256 collateral,
            uint256 averagePrice,
            uint256 entryFundingRate,
            uint256 reserveAmount,
            uint256 realisedPnl,
            bool realisedPnlIsPositive,
            uint256 lastIncreasedTime
        );
    function setFees(uint256 marginFeeBasisPoints, uint256 liquidationFeeUsd, uint256 minProfitTime) external;
    function setIsLeverageEnabled(bool enabled) external;
    function liquidatePosition(
        address account,
        address collateralToken,
        address indexToken,
        bool isLong,
        address feeReceiver
    ) external;
}

interface ITimelock {
    function enableLeverage(address vault) external;
    function disableLeverage(address vault) external;
}
