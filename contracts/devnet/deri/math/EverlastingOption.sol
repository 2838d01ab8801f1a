// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Fixed, ONE} from "./Fixed.sol";
import {Power} from "./Power.sol";

/// An option that never expires: its holder pays the time value, little by little, as funding.
library EverlastingOption {
    int256 private constant SECONDS_PER_YEAR = 31536000;

    /// What an option is worth before any trade, and how that moves.
    struct Value {
        int256 intrinsic;
        int256 timeValue;
        int256 delta;
        int256 u;
    }

    /// `fundingPeriod` in seconds, all else 18-decimal. Panics on a price or volatility of zero.
    function value(int256 price, int256 volatility, int256 strike, int256 fundingPeriod, bool isCall)
        internal
        pure
        returns (Value memory v)
    {
        v.intrinsic = Fixed.max(isCall ? price - strike : strike - price, 0);
        v.u = spread(volatility, fundingPeriod * ONE / SECONDS_PER_YEAR);

        int256 moneyness = price * ONE / strike;
        if (price == strike) {
            v.timeValue = strike * ONE / v.u;
        } else {
            int256 slope = price > strike ? ONE - v.u : ONE + v.u;
            v.timeValue = strike * Power.pow18(moneyness, slope / 2) / v.u;
            v.delta = slope * v.timeValue / price / 2;
        }

        int256 side = isCall ? ONE : -ONE;
        if (v.intrinsic > 0) v.delta += side;
        else if (price == strike) v.delta = side / 2;
    }

    /// u = sqrt(8 / (volatility^2 * years) + 1): how steeply the time value falls off on both sides of the strike.
    function spread(int256 volatility, int256 inYears) internal pure returns (int256) {
        return Power.sqrt18(8 * ONE * ONE / volatility * ONE / volatility * ONE / inYears + ONE);
    }
}
