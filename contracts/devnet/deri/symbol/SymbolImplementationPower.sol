// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Fixed, ONE} from "../math/Fixed.sol";
import {SymbolImplementation} from "./SymbolImplementation.sol";

/// A perpetual on the square of a price.
contract SymbolImplementationPower is SymbolImplementation {
    int256 private constant SECONDS_PER_YEAR = 31536000;

    uint256 public constant power = 2;

    bytes32 public immutable priceId;
    bytes32 public immutable volatilityId;
    int256 public immutable feeRatio;

    constructor(
        address manager_,
        address oracleManager_,
        Terms memory terms,
        bytes32 priceId_,
        bytes32 volatilityId_,
        int256 feeRatio_
    ) SymbolImplementation(manager_, oracleManager_, terms) {
        priceId = priceId_;
        volatilityId = volatilityId_;
        feeRatio = feeRatio_;
    }

    function _contractName() internal pure override returns (string memory) {
        return "SymbolImplementationPower";
    }

    function _priceId() internal view override returns (bytes32) {
        return priceId;
    }

    /// The square is dearer than the squared price by what its convexity is expected to earn within a funding period.
    function _quote(int256 liquidity) internal view override returns (Quote memory quote) {
        int256 price = Fixed.toInt(oracleManager.getValue(priceId));
        int256 volatility = Fixed.toInt(oracleManager.getValue(volatilityId));
        int256 oneHT = ONE - volatility ** 2 / ONE * fundingPeriod / SECONDS_PER_YEAR;
        int256 squared = price ** 2 / ONE;

        quote.indexPrice = price;
        quote.theoreticalPrice = squared * ONE / oneHT;
        quote.fundingAnchor = squared;
        quote.k = int256(power) * quote.theoreticalPrice * alpha / liquidity;
        quote.maintenanceMarginPerVolume = quote.theoreticalPrice * maintenanceMarginRatio / ONE;
        quote.initialMarginPerVolume = quote.maintenanceMarginPerVolume * initialMarginRatio / maintenanceMarginRatio;
    }

    function _maintenanceMargin(Quote memory quote, int256 volume) internal pure override returns (int256) {
        return Fixed.abs(volume) * quote.maintenanceMarginPerVolume / ONE;
    }

    function _initialMargin(Quote memory quote, int256 volume) internal pure override returns (int256) {
        return Fixed.abs(volume) * quote.initialMarginPerVolume / ONE;
    }

    function _tradeFee(Quote memory, int256, int256 tradeCost) internal view override returns (int256) {
        return Fixed.abs(tradeCost) * feeRatio / ONE;
    }
}
