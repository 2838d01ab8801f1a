// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// Says what a contract is: hashes of its name and of its version.
abstract contract NameVersion {
    bytes32 public immutable nameId;
    bytes32 public immutable versionId;

    constructor(string memory name_, string memory version_) {
        nameId = keccak256(bytes(name_));
        versionId = keccak256(bytes(version_));
    }
}
