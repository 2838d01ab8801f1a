// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ProxyStorage} from "./ProxyStorage.sol";

/// Holds the state; the code is the implementation's. Parameters are immutables of an implementation, so a new
/// implementation may change them while the state stays.
contract Proxy is ProxyStorage {
    constructor() {
        admin = msg.sender;
        emit NewAdmin(msg.sender);
    }

    function setAdmin(address newAdmin) external onlyAdmin {
        admin = newAdmin;
        emit NewAdmin(newAdmin);
    }

    function setImplementation(address newImplementation) external onlyAdmin {
        require(newImplementation.code.length > 0, "Proxy.setImplementation: no code");
        implementation = newImplementation;
        emit NewImplementation(newImplementation);
    }

    receive() external payable {}

    fallback() external payable {
        address target = implementation;
        assembly {
            calldatacopy(0, 0, calldatasize())
            let success := delegatecall(gas(), target, 0, calldatasize(), 0, 0)
            returndatacopy(0, 0, returndatasize())
            switch success
            case 0 { revert(0, returndatasize()) }
            default { return(0, returndatasize()) }
        }
    }
}
