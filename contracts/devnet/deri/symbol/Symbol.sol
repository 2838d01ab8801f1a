// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Proxy} from "../proxy/Proxy.sol";
import {SymbolStorage} from "./SymbolStorage.sol";

/// The proxy of one symbol.
contract Symbol is SymbolStorage, Proxy {
    constructor(string memory symbol_) {
        symbol = symbol_;
        symbolId = keccak256(bytes(symbol_));
    }
}
