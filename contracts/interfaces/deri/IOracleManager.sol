// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// One signed reading, as it travels with a transaction.
struct OracleSignature {
    bytes32 oracleSymbolId;
    uint256 timestamp;
    uint256 value;
    uint8 v;
    bytes32 r;
    bytes32 s;
}

interface IOracleManager {
    event NewOracle(bytes32 indexed symbolId, address indexed oracle);

    function getOracle(bytes32 symbolId) external view returns (address);

    function value(bytes32 symbolId) external view returns (uint256);

    function getValue(bytes32 symbolId) external view returns (uint256);

    function updateValue(bytes32 symbolId, uint256 timestamp, uint256 value_, uint8 v, bytes32 r, bytes32 s)
        external
        returns (bool);
}
