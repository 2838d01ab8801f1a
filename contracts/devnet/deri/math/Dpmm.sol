// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ONE} from "./Fixed.sol";

/// Proactive market making: the price moves linearly with the net volume that all traders hold together.
library Dpmm {
    function mark(int256 price, int256 k, int256 netVolume) internal pure returns (int256) {
        return price * (ONE + k * netVolume / ONE) / ONE;
    }

    /// What `volume` costs: the price integrated from `netVolume` to `netVolume + volume`.
    function cost(int256 price, int256 k, int256 netVolume, int256 volume) internal pure returns (int256) {
        int256 after_ = netVolume + volume;
        int256 r = (after_ ** 2 - netVolume ** 2) / ONE * k / ONE / 2 + volume;
        return price * r / ONE;
    }
}
