// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {SymbolManagerImplementation} from "../symbol/SymbolManagerImplementation.sol";
import {SymbolSeeding} from "./SymbolSeeding.sol";

/// Devnet only, no part of the protocol: passes the pool's seeding on to the symbols.
contract SeedableSymbolManager is SymbolManagerImplementation {
    constructor(address pool_) SymbolManagerImplementation(pool_) {}

    function openSymbols(int256 liquidity) external onlyPool {
        for (uint256 i = 0; i < indexedSymbols.length; i++) {
            SymbolSeeding(indexedSymbols[i]).open(liquidity);
        }
    }

    function seed(uint256 pTokenId, bytes32 symbolId, int256 volume, int256 cost) external onlyPool {
        address symbol = symbols[symbolId];
        require(symbol != address(0), "SeedableSymbolManager.seed: invalid symbol");
        int256 indexPrice = SymbolSeeding(symbol).seed(pTokenId, volume, cost);
        _activeSymbols[pTokenId].push(symbol);
        emit Trade(pTokenId, symbolId, indexPrice, volume, cost, 0);
    }
}
