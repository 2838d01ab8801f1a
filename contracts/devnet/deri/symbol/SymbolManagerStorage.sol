// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ProxyStorage} from "../proxy/ProxyStorage.sol";

abstract contract SymbolManagerStorage is ProxyStorage {
    mapping(bytes32 symbolId => address) public symbols;
    address[] public indexedSymbols;

    /// In the order of opening; a closed symbol's place is taken by the last one.
    mapping(uint256 pTokenId => address[]) internal _activeSymbols;

    /// The sum over all symbols.
    int256 public initialMarginRequired;
}
