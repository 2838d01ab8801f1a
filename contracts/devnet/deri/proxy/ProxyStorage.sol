// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// The first two slots of every proxy and of every implementation behind one.
abstract contract ProxyStorage {
    address public admin;
    address public implementation;

    event NewAdmin(address indexed newAdmin);
    event NewImplementation(address newImplementation);

    modifier onlyAdmin() {
        require(msg.sender == admin, "Admin: only admin");
        _;
    }
}
