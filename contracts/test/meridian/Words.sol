// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// Reads words of 32 bytes one after the other.
library Words {
    struct Reader {
        bytes data;
        uint256 position;
    }

    function number(Reader memory r) internal pure returns (uint256 value) {
        value = wordAt(r.data, r.position);
        r.position += 1;
    }

    function flag(Reader memory r) internal pure returns (bool) {
        return number(r) == 1;
    }

    function account(Reader memory r) internal pure returns (address) {
        return address(uint160(number(r)));
    }

    /// A length, then the text in as many words as it takes.
    function text(Reader memory r) internal pure returns (string memory) {
        uint256 length = number(r);
        bytes memory out = new bytes(length);
        for (uint256 i = 0; i < length; ++i) {
            out[i] = r.data[r.position * 32 + i];
        }
        r.position += (length + 31) / 32;
        return string(out);
    }

    function wordAt(bytes memory data, uint256 index) internal pure returns (uint256 value) {
        require(data.length >= (index + 1) * 32, "read past the end");
        assembly {
            value := mload(add(add(data, 32), mul(index, 32)))
        }
    }
}
