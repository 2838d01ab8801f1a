// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// The cheat codes of forge that these tests use.
interface Vm {
    struct Log {
        bytes32[] topics;
        bytes data;
        address emitter;
    }

    // time, callers and accounts
    function warp(uint256 timestamp) external;

    function roll(uint256 number) external;

    function prank(address sender) external;

    function startPrank(address sender) external;

    function stopPrank() external;

    function deal(address account, uint256 balance) external;

    function addr(uint256 privateKey) external pure returns (address);

    function sign(uint256 privateKey, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);

    // expectations
    function expectRevert(bytes calldata revertData) external;

    function expectRevert() external;

    function expectEmit(address emitter) external;

    function recordLogs() external;

    function getRecordedLogs() external returns (Log[] memory);

    // the chain's state
    function snapshotState() external returns (uint256 id);

    function revertToState(uint256 id) external returns (bool);

    // files
    function readFile(string calldata path) external view returns (string memory);

    function readFileBinary(string calldata path) external view returns (bytes memory);

    function exists(string calldata path) external view returns (bool);

    function parseUint(string calldata text) external pure returns (uint256);

    function toString(uint256 value) external pure returns (string memory);

    function toString(int256 value) external pure returns (string memory);
}
