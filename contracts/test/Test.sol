// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Vm} from "./Vm.sol";

/// Assertions that say what they expected and what came.
abstract contract Test {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    event log(string);

    function assertTrue(bool condition, string memory what) internal pure {
        require(condition, what);
    }

    function assertEq(uint256 came, uint256 expected, string memory what) internal pure {
        if (came != expected) _fail(what, vm.toString(expected), vm.toString(came));
    }

    function assertEq(int256 came, int256 expected, string memory what) internal pure {
        if (came != expected) _fail(what, vm.toString(expected), vm.toString(came));
    }

    function assertEq(string memory came, string memory expected, string memory what) internal pure {
        if (keccak256(bytes(came)) != keccak256(bytes(expected))) _fail(what, expected, came);
    }

    function assertEq(address came, address expected, string memory what) internal pure {
        assertEq(uint256(uint160(came)), uint256(uint160(expected)), what);
    }

    /// The next call must revert with this reason.
    function expectReason(string memory reason) internal {
        vm.expectRevert(abi.encodeWithSignature("Error(string)", reason));
    }

    function expectPanic(uint256 code) internal {
        vm.expectRevert(abi.encodeWithSignature("Panic(uint256)", code));
    }

    /// The reason in the data of a failed call: a string, `Panic(0x..)`, or nothing.
    function reasonOf(bytes memory revertData) internal pure returns (string memory) {
        if (revertData.length < 36) return "";
        bytes4 selector = bytes4(revertData);
        bytes memory arguments = new bytes(revertData.length - 4);
        for (uint256 i = 0; i < arguments.length; i++) {
            arguments[i] = revertData[i + 4];
        }
        if (selector == bytes4(keccak256("Error(string)"))) return abi.decode(arguments, (string));
        if (selector == bytes4(keccak256("Panic(uint256)"))) {
            uint8 code = uint8(abi.decode(arguments, (uint256)));
            bytes memory digits = "0123456789abcdef";
            return string(abi.encodePacked("Panic(0x", digits[code >> 4], digits[code & 15], ")"));
        }
        return "unknown error";
    }

    function _fail(string memory what, string memory expected, string memory came) private pure {
        revert(string.concat(what, ": expected ", expected, ", came ", came));
    }
}
