// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ONE} from "./Fixed.sol";

/// Roots and real powers. Every truncation is part of the answer: an off-chain copy has to make the same ones.
library Power {
    /// The 128 bits behind the point of 2^(2^-i), i = 1..64, cut off.
    bytes private constant ROOTS_OF_TWO = hex"6a09e667f3bcc908b2fb1366ea957d3e306fe0a31b7152de8d5a46305c85edec"
        hex"172b83c7d517adcdf7c8c50eb14a79200b5586cf9890f6298b92b71842a98364"
        hex"059b0d31585743ae7c548eb68ca417fe02c9a3e778060ee6f7caca4f7a29bde9"
        hex"0163da9fb33356d84a66ae336dcdfa4000b1afa5abcbed6129ab13ec11dc9544"
        hex"0058c86da1c09ea1ff19d294cf2f679c002c605e2e8cec506d21bfc89a23a010"
        hex"00162f3904051fa128bca9c55c31e5e0000b175effdc76ba38e31671ca939726"
        hex"00058ba01fb9f96d6cacd4b180917c3e0002c5cc37da9491d0985c348c68e7b3"
        hex"000162e525ee054754457d59952920260000b17255775c040618bf4a4ade83fc"
        hex"000058b91b5bc9ae2eed81e9b7d4cfac00002c5c89d5ec6ca4d7c8acc017b7c9"
        hex"0000162e43f4f831060e02d839a9d16d00000b1721bcfc99d9f890ea06911763"
        hex"0000058b90cf1e6d97f9ca14dbcc1628000002c5c863b73f016468f6bac5ca2c"
        hex"00000162e430e5a18f6119e3c02282a5000000b1721835514b86e6d96efd1bff"
        hex"00000058b90c0b48c6be5df846c5b2f00000002c5c8601cc6b9e94213c72737a"
        hex"000000162e42fff037df38aa2b219f060000000b17217fba9c739aa5819f44f9"
        hex"000000058b90bfcdee5acd3c1cedc82300000002c5c85fe31f35a6a30da1be50"
        hex"0000000162e42ff0999ce3541b9fffcf00000000b17217f80f4ef5aadda45554"
        hex"0000000058b90bfbf8479bd5a81b51ad000000002c5c85fdf84bd62ae30a74cc"
        hex"00000000162e42fefb2fed257559bdaa000000000b17217f7d5a7716bba4a9af"
        hex"00000000058b90bfbe9ddbac5e109ccf0000000002c5c85fdf4b15de6f17eb0d"
        hex"000000000162e42fefa494f1478fde050000000000b17217f7d20cf927c8e94c"
        hex"000000000058b90bfbe8f71cb4e4b33e00000000002c5c85fdf477b662b26945"
        hex"0000000000162e42fefa3ae53369388c00000000000b17217f7d1d351a389d40"
        hex"0000000000058b90bfbe8e8b2d3d4ede000000000002c5c85fdf4741bea6e77f"
        hex"00000000000162e42fefa39fe95583c3000000000000b17217f7d1cfb72b45e2"
        hex"00000000000058b90bfbe8e7cc35c3f10000000000002c5c85fdf473e242ea38"
        hex"000000000000162e42fefa39f02b772c0000000000000b17217f7d1cf7d83c1a"
        hex"000000000000058b90bfbe8e7bdcbe2e00000000000002c5c85fdf473dea871f"
        hex"0000000000000162e42fefa39ef44d9100000000000000b17217f7d1cf79e949"
        hex"0000000000000058b90bfbe8e7bce544000000000000002c5c85fdf473de6eca"
        hex"00000000000000162e42fefa39ef366f000000000000000b17217f7d1cf79afa"
        hex"00000000000000058b90bfbe8e7bcd6d0000000000000002c5c85fdf473de6b2"
        hex"000000000000000162e42fefa39ef3580000000000000000b17217f7d1cf79ac";

    /// The square root of an 18-decimal figure, by Newton's method.
    function sqrt18(int256 x) internal pure returns (int256 y) {
        int256 scaled = x * ONE;
        int256 z = scaled / 2 + 1;
        y = scaled;
        while (z < y) {
            y = z;
            z = (scaled / z + z) / 2;
        }
    }

    /// `x` to the power of `y`, for x > 0, as 2^(y * log2(x)).
    function pow18(int256 x, int256 y) internal pure returns (int256) {
        int256 log = (log2_128(uint256((x << 128) / ONE)) * ONE) >> 128;
        return (exp2_64x64(((log * y / ONE) << 64) / ONE) * ONE) >> 64;
    }

    /// log2(v / 2^128) * 2^128: the highest bit gives the integer part, squaring the mantissa 1 + f / 2^128 gives
    /// one more fraction bit each time.
    function log2_128(uint256 v) internal pure returns (int256) {
        require(v > 0, "Power.log2_128: zero");
        unchecked {
            int256 exponent = int256(_highestBit(v)) - 128;
            uint256 f = (exponent >= 0 ? v >> uint256(exponent) : v << uint256(-exponent)) - 2 ** 128;
            int256 fraction;
            for (uint256 bit = 2 ** 127; f != 0 && bit != 0; bit >>= 1) {
                f = (f << 1) + ((f * f + 2 ** 127) >> 128);
                if (f >= 2 ** 128) {
                    fraction |= int256(bit);
                    f = (f >> 1) - 2 ** 127;
                }
            }
            return (exponent << 128) + fraction;
        }
    }

    /// 2^(e / 2^64) * 2^64.
    function exp2_64x64(int256 e) internal pure returns (int256) {
        require(e < 2 ** 70, "Power.exp2_64x64: overflow");
        if (e < -(2 ** 70)) return 0;
        bytes memory roots = ROOTS_OF_TWO;
        unchecked {
            uint256 result = 2 ** 127;
            // The fraction bits, highest first, moved to the top of the word; what is left of `bits` ends the loop.
            uint256 bits = uint256(e) << 192;
            for (uint256 cursor = 16; bits != 0; cursor += 16) {
                if (bits >> 255 == 1) {
                    uint256 root;
                    assembly {
                        root := and(mload(add(roots, cursor)), 0xffffffffffffffffffffffffffffffff)
                    }
                    result = (result * (2 ** 128 + root)) >> 128;
                }
                bits <<= 1;
            }
            return int256(result >> uint256(63 - (e >> 64)));
        }
    }

    function _highestBit(uint256 v) private pure returns (uint256 bit) {
        for (uint256 step = 128; step != 0; step >>= 1) {
            if (v >> step != 0) {
                v >>= step;
                bit += step;
            }
        }
    }
}
