// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

// One, in the protocol's 18-decimal fixed point.
int256 constant ONE = 1e18;

library Fixed {
    /// Reverts with Panic(0x11) on the smallest integer, as `-a` does.
    function abs(int256 a) internal pure returns (int256) {
        return a >= 0 ? a : -a;
    }

    function min(int256 a, int256 b) internal pure returns (int256) {
        return a < b ? a : b;
    }

    function max(int256 a, int256 b) internal pure returns (int256) {
        return a > b ? a : b;
    }

    function toInt(uint256 a) internal pure returns (int256) {
        require(a <= uint256(type(int256).max), "Fixed.toInt: overflow");
        return int256(a);
    }

    function toUint(int256 a) internal pure returns (uint256) {
        require(a >= 0, "Fixed.toUint: negative");
        return uint256(a);
    }

    /// From an 18-decimal figure to a token's own decimals or back; what does not fit is cut off.
    function rescale(uint256 amount, uint256 from, uint256 to) internal pure returns (uint256) {
        return from == to ? amount : amount * 10 ** to / 10 ** from;
    }
}
