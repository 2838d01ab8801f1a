// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Fixed, ONE} from "../../devnet/deri/math/Fixed.sol";
import {Power} from "../../devnet/deri/math/Power.sol";
import {Test} from "../Test.sol";

contract PowerTest is Test {
    function test_a_root_is_the_integer_below(uint128 x) external pure {
        int256 y = Power.sqrt18(int256(uint256(x)));
        int256 scaled = int256(uint256(x)) * ONE;
        assertTrue(y * y <= scaled && scaled < (y + 1) * (y + 1), "y^2 <= x < (y + 1)^2");
    }

    function test_logarithms_of_powers_of_two_are_whole() external pure {
        assertEq(Power.log2_128(2 ** 128), 0, "log2(1)");
        assertEq(Power.log2_128(2 ** 131), 3 << 128, "log2(8)");
        assertEq(Power.log2_128(2 ** 126), -2 * 2 ** 128, "log2(1/4)");
        assertEq(Power.log2_128(1), -128 * 2 ** 128, "the smallest");
    }

    /// Values whose last bit depends on each squaring being rounded, not cut off.
    function test_logarithms_are_exact_to_the_last_bit() external pure {
        assertEq(
            Power.log2_128(2399761446566538873898502422396590731765), 958945212251367556529482483497594207349, "above"
        );
        assertEq(
            Power.log2_128(95479825747908224222926707075557592863), -623895658674224481196247833236231961503, "below"
        );
    }

    function test_two_to_whole_powers() external pure {
        assertEq(Power.exp2_64x64(0), 2 ** 64, "2^0");
        assertEq(Power.exp2_64x64(5 << 64), 32 << 64, "2^5");
        assertEq(Power.exp2_64x64(-(1 << 64)), 2 ** 63, "2^-1");
        assertEq(Power.exp2_64x64(-(1 << 70) - 1), 0, "below the range");
    }

    function test_two_to_a_power_out_of_range() external {
        expectReason("Power.exp2_64x64: overflow");
        this.exp2(1 << 70);
    }

    /// Exact to the bit; the real powers are these to 17 digits.
    function test_known_powers() external pure {
        assertEq(Power.pow18(1049160677955880832, 29014438711287525376), 4024566230627607075, "just above one");
        assertEq(Power.pow18(1177342686799325440, 17876946376430907392), 18515147278447681351, "above one");
        assertEq(Power.pow18(987627619112865408, -30411260085620363264), 1460248586333786004, "just below one");
        assertEq(Power.pow18(805245675835560832, -33992423944338219008), 1576600510310756226319, "below one");
        assertEq(Power.pow18(1830480705206521600, 8872942551372091392), 213661139375159102876, "well above one");
    }

    function test_opposite_powers_cancel(uint64 x, int64 y) external pure {
        int256 base = 0.5e18 + int256(uint256(x)) % 1e18;
        int256 exponent = int256(y) % 20e18;
        int256 product = Power.pow18(base, exponent) * Power.pow18(base, -exponent) / ONE;
        assertTrue(Fixed.abs(product - ONE) < 1e13, "x^y * x^-y is one to five digits even where one of them is tiny");
    }

    function exp2(int256 e) external pure returns (int256) {
        return Power.exp2_64x64(e);
    }
}
