// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Fixed, ONE} from "../math/Fixed.sol";
import {SymbolImplementation} from "./SymbolImplementation.sol";

/// A perpetual future on the index price.
contract SymbolImplementationFutures is SymbolImplementation {
    int256 public immutable feeRatio;

    constructor(address manager_, address oracleManager_, Terms memory terms, int256 feeRatio_)
        SymbolImplementation(manager_, oracleManager_, terms)
    {
        feeRatio = feeRatio_;
    }

    function _contractName() internal pure override returns (string memory) {
        return "SymbolImplementationFutures";
    }

    function _priceId() internal view override returns (bytes32) {
        return symbolId;
    }

    function _quote(int256 liquidity) internal view override returns (Quote memory quote) {
        int256 price = Fixed.toInt(oracleManager.getValue(symbolId));
        quote.indexPrice = price;
        quote.theoreticalPrice = price;
        quote.fundingAnchor = price;
        quote.k = price * alpha / liquidity;
    }

    function _maintenanceMargin(Quote memory quote, int256 volume) internal view override returns (int256) {
        return Fixed.abs(volume * quote.indexPrice / ONE) * maintenanceMarginRatio / ONE;
    }

    function _initialMargin(Quote memory quote, int256 volume) internal view override returns (int256) {
        return Fixed.abs(volume) * quote.indexPrice / ONE * initialMarginRatio / ONE;
    }

    function _tradeFee(Quote memory, int256, int256 tradeCost) internal view override returns (int256) {
        return Fixed.abs(tradeCost) * feeRatio / ONE;
    }
}
