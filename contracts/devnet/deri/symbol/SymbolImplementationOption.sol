// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EverlastingOption} from "../math/EverlastingOption.sol";
import {Fixed, ONE} from "../math/Fixed.sol";
import {SymbolImplementation} from "./SymbolImplementation.sol";

/// An everlasting call or put.
contract SymbolImplementationOption is SymbolImplementation {
    struct OptionTerms {
        bytes32 priceId;
        bytes32 volatilityId;
        int256 strikePrice;
        bool isCall;
        int256 feeRatioITM;
        int256 feeRatioOTM;
        int256 minInitialMarginRatio;
    }

    bytes32 public immutable priceId;
    bytes32 public immutable volatilityId;
    int256 public immutable strikePrice;
    bool public immutable isCall;
    int256 public immutable feeRatioITM;
    int256 public immutable feeRatioOTM;
    int256 public immutable minInitialMarginRatio;

    constructor(address manager_, address oracleManager_, Terms memory terms, OptionTerms memory option)
        SymbolImplementation(manager_, oracleManager_, terms)
    {
        priceId = option.priceId;
        volatilityId = option.volatilityId;
        strikePrice = option.strikePrice;
        isCall = option.isCall;
        feeRatioITM = option.feeRatioITM;
        feeRatioOTM = option.feeRatioOTM;
        minInitialMarginRatio = option.minInitialMarginRatio;
    }

    function _contractName() internal pure override returns (string memory) {
        return "SymbolImplementationOption";
    }

    function _priceId() internal view override returns (bytes32) {
        return priceId;
    }

    /// The holder is funded down to the intrinsic value.
    function _quote(int256 liquidity) internal view override returns (Quote memory quote) {
        int256 price = Fixed.toInt(oracleManager.getValue(priceId));
        int256 volatility = Fixed.toInt(oracleManager.getValue(volatilityId));
        EverlastingOption.Value memory v =
            EverlastingOption.value(price, volatility, strikePrice, fundingPeriod, isCall);

        quote.indexPrice = price;
        quote.theoreticalPrice = v.intrinsic + v.timeValue;
        quote.fundingAnchor = v.intrinsic;
        quote.k = price ** 2 / quote.theoreticalPrice * Fixed.abs(v.delta) * alpha / liquidity / ONE;
        quote.maintenanceMarginPerVolume = _maintenancePerVolume(price, v);
        quote.initialMarginPerVolume = Fixed.max(
            quote.maintenanceMarginPerVolume * initialMarginRatio / maintenanceMarginRatio,
            price * minInitialMarginRatio / ONE
        );
    }

    /// What a move of the price by the maintenance ratio costs: first order by delta, second by gamma.
    function _maintenancePerVolume(int256 price, EverlastingOption.Value memory v) private view returns (int256) {
        int256 deltaPart = v.delta * (isCall ? price : -price) / ONE * maintenanceMarginRatio / ONE;
        int256 gammaPart = (v.u * v.u / ONE - ONE) * v.timeValue / ONE / 8 * maintenanceMarginRatio / ONE
            * maintenanceMarginRatio / ONE;
        return deltaPart + gammaPart;
    }

    function _maintenanceMargin(Quote memory quote, int256 volume) internal pure override returns (int256) {
        return Fixed.abs(volume) * quote.maintenanceMarginPerVolume / ONE;
    }

    function _initialMargin(Quote memory quote, int256 volume) internal pure override returns (int256) {
        return Fixed.abs(volume) * quote.initialMarginPerVolume / ONE;
    }

    /// In the money by the underlying's notional, otherwise by what the option costs.
    function _tradeFee(Quote memory quote, int256 tradeVolume, int256 tradeCost)
        internal
        view
        override
        returns (int256)
    {
        return quote.fundingAnchor > 0
            ? Fixed.abs(tradeVolume) * quote.indexPrice / ONE * feeRatioITM / ONE
            : Fixed.abs(tradeCost) * feeRatioOTM / ONE;
    }
}
