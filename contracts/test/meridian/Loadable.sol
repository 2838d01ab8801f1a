// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {FastPriceFeed} from "../../devnet/meridian/FastPriceFeed.sol";
import {Vault} from "../../devnet/meridian/Vault.sol";

/// The vault with setters that put it into a recorded state.
contract LoadableVault is Vault {
    struct TokenState {
        uint256 poolAmount;
        uint256 reservedAmount;
        uint256 feeReserve;
        uint256 guaranteedUsd;
        uint256 globalShortSize;
        uint256 cumulativeFundingRate;
        uint256 lastFundingTime;
        uint256 tokenBalance;
    }

    function loadToken(address token, TokenState calldata state) external {
        poolAmounts[token] = state.poolAmount;
        reservedAmounts[token] = state.reservedAmount;
        feeReserves[token] = state.feeReserve;
        guaranteedUsd[token] = state.guaranteedUsd;
        globalShortSizes[token] = state.globalShortSize;
        cumulativeFundingRates[token] = state.cumulativeFundingRate;
        lastFundingTimes[token] = state.lastFundingTime;
        tokenBalances[token] = state.tokenBalance;
    }

    function loadPosition(bytes32 key, Position calldata position) external {
        positions[key] = position;
    }

    /// What holds inside a liquidating call: prices without the AMM's, the margin fee of its route.
    function loadCallSettings(uint256 marginFee) external {
        includeAmmPrice = false;
        marginFeeBasisPoints = marginFee;
    }
}

/// The fast price feed with its state set directly, and the favour per token.
contract LoadableFastPriceFeed is FastPriceFeed {
    mapping(address => bool) private _disfavoured;

    function loadUpdatedAt(uint256 timestamp) external {
        lastUpdatedAt = timestamp;
    }

    function loadPrice(address token, uint256 price, bool favoured) external {
        prices[token] = price;
        _disfavoured[token] = !favoured;
    }

    function favorFastPrice(address token) public view override returns (bool) {
        return !_disfavoured[token];
    }
}
