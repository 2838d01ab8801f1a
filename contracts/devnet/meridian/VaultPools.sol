// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IVaultPriceFeed} from "./Interfaces.sol";
import {VaultStorage} from "./VaultStorage.sol";

/// Prices, conversions, the funding clock and the running figures of each token.
abstract contract VaultPools is VaultStorage {
    using SafeERC20 for IERC20;

    /// Anybody may put tokens into the pool: transfer first, then call this.
    function directPoolDeposit(address token) external {
        _validate(whitelistedTokens[token], 14);
        uint256 amount = _transferIn(token);
        _validate(amount > 0, 15);
        _increasePoolAmount(token, amount);
        emit DirectPoolDeposit(token, amount);
    }

    /// Brings the cumulative funding rate of the collateral token up to the last whole interval. The first time it
    /// only starts the clock, without an event.
    function updateCumulativeFundingRate(address collateralToken, address) public {
        uint256 last = lastFundingTimes[collateralToken];
        uint256 floored = block.timestamp / fundingInterval * fundingInterval;
        if (last == 0) {
            lastFundingTimes[collateralToken] = floored;
            return;
        }
        if (last + fundingInterval > block.timestamp) return;
        uint256 rate = cumulativeFundingRates[collateralToken] + getNextFundingRate(collateralToken);
        cumulativeFundingRates[collateralToken] = rate;
        lastFundingTimes[collateralToken] = floored;
        emit UpdateFundingRate(collateralToken, rate);
    }

    /// What the next update adds to the cumulative rate.
    function getNextFundingRate(address token) public view returns (uint256) {
        uint256 last = lastFundingTimes[token];
        if (last + fundingInterval > block.timestamp) return 0;
        uint256 pool = poolAmounts[token];
        if (pool == 0) return 0;
        uint256 intervals = (block.timestamp - last) / fundingInterval;
        uint256 factor = stableTokens[token] ? stableFundingRateFactor : fundingRateFactor;
        return factor * reservedAmounts[token] * intervals / pool;
    }

    function getMinPrice(address token) public view returns (uint256) {
        return IVaultPriceFeed(priceFeed).getPrice(token, false, includeAmmPrice, false);
    }

    function getMaxPrice(address token) public view returns (uint256) {
        return IVaultPriceFeed(priceFeed).getPrice(token, true, includeAmmPrice, false);
    }

    function tokenToUsdMin(address token, uint256 amount) public view returns (uint256) {
        if (amount == 0) return 0;
        return amount * getMinPrice(token) / 10 ** tokenDecimals[token];
    }

    /// The fewest tokens that a USD value stands for: at the max price, floored.
    function usdToTokenMin(address token, uint256 usd) public view returns (uint256) {
        if (usd == 0) return 0;
        return usd * 10 ** tokenDecimals[token] / getMaxPrice(token);
    }

    function usdToTokenMax(address token, uint256 usd) public view returns (uint256) {
        if (usd == 0) return 0;
        return usd * 10 ** tokenDecimals[token] / getMinPrice(token);
    }

    function _transferIn(address token) internal returns (uint256) {
        uint256 before = tokenBalances[token];
        uint256 balance = IERC20(token).balanceOf(address(this));
        tokenBalances[token] = balance;
        return balance - before;
    }

    function _transferOut(address token, uint256 amount, address receiver) internal {
        IERC20(token).safeTransfer(receiver, amount);
        tokenBalances[token] = IERC20(token).balanceOf(address(this));
    }

    function _increasePoolAmount(address token, uint256 amount) internal {
        poolAmounts[token] += amount;
        _validate(poolAmounts[token] <= IERC20(token).balanceOf(address(this)), 49);
        emit IncreasePoolAmount(token, amount);
    }

    function _decreasePoolAmount(address token, uint256 amount) internal {
        require(amount <= poolAmounts[token], "Vault: poolAmount exceeded");
        poolAmounts[token] -= amount;
        _validate(reservedAmounts[token] <= poolAmounts[token], 50);
        emit DecreasePoolAmount(token, amount);
    }

    function _increaseReservedAmount(address token, uint256 amount) internal {
        reservedAmounts[token] += amount;
        _validate(reservedAmounts[token] <= poolAmounts[token], 52);
        emit IncreaseReservedAmount(token, amount);
    }

    function _decreaseReservedAmount(address token, uint256 amount) internal {
        require(amount <= reservedAmounts[token], "Vault: insufficient reserve");
        reservedAmounts[token] -= amount;
        emit DecreaseReservedAmount(token, amount);
    }

    function _increaseGuaranteedUsd(address token, uint256 usd) internal {
        guaranteedUsd[token] += usd;
        emit IncreaseGuaranteedUsd(token, usd);
    }

    function _decreaseGuaranteedUsd(address token, uint256 usd) internal {
        guaranteedUsd[token] -= usd;
        emit DecreaseGuaranteedUsd(token, usd);
    }

    function _decreaseGlobalShortSize(address token, uint256 usd) internal {
        uint256 size = globalShortSizes[token];
        globalShortSizes[token] = usd > size ? 0 : size - usd;
    }

    function _collectMarginFees(address token, uint256 feeUsd) internal {
        uint256 feeTokens = usdToTokenMin(token, feeUsd);
        feeReserves[token] += feeTokens;
        emit CollectMarginFees(token, feeUsd, feeTokens);
    }
}
