// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {SymbolImplementation} from "../symbol/SymbolImplementation.sol";
import {SymbolImplementationFutures} from "../symbol/SymbolImplementationFutures.sol";
import {SymbolImplementationOption} from "../symbol/SymbolImplementationOption.sol";
import {SymbolImplementationPower} from "../symbol/SymbolImplementationPower.sol";

/// Devnet only, no part of the protocol: a symbol in which positions can be written instead of traded.
abstract contract SymbolSeeding is SymbolImplementation {
    /// Opens a position of an account that has none here. Sums and the count of holders follow; the joint PnL and
    /// the initial margin are the next settlement's business.
    function seed(uint256 pTokenId, int256 volume, int256 cost) external onlyManager returns (int256) {
        Position storage position = positions[pTokenId];
        require(volume != 0 && position.volume == 0, "SymbolSeeding.seed: no volume, or a position already");
        position.volume = volume;
        position.cost = cost;
        position.cumulativeFundingPerVolume = cumulativeFundingPerVolume;
        netVolume += volume;
        netCost += cost;
        nPositionHolders++;
        return indexPrice;
    }

    /// Starts the clock of a symbol that nobody holds yet, as its first trade would.
    function open(int256 liquidity) external onlyManager {
        if (nPositionHolders > 0) return;
        Quote memory quote = _quote(liquidity);
        _accrueFunding(quote);
        indexPrice = quote.indexPrice;
    }
}

contract SeedableFutures is SymbolImplementationFutures, SymbolSeeding {
    constructor(address manager_, address oracleManager_, Terms memory terms, int256 feeRatio_)
        SymbolImplementationFutures(manager_, oracleManager_, terms, feeRatio_)
    {}
}

contract SeedableOption is SymbolImplementationOption, SymbolSeeding {
    constructor(address manager_, address oracleManager_, Terms memory terms, OptionTerms memory option)
        SymbolImplementationOption(manager_, oracleManager_, terms, option)
    {}
}

contract SeedablePower is SymbolImplementationPower, SymbolSeeding {
    constructor(
        address manager_,
        address oracleManager_,
        Terms memory terms,
        bytes32 priceId_,
        bytes32 volatilityId_,
        int256 feeRatio_
    ) SymbolImplementationPower(manager_, oracleManager_, terms, priceId_, volatilityId_, feeRatio_) {}
}
