// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {IVault, IVaultUtils} from "./Interfaces.sol";

/// The liquidation test and the fees it counts.
contract VaultUtils is IVaultUtils {
    uint256 private constant BASIS_POINTS_DIVISOR = 10_000;
    uint256 private constant FUNDING_RATE_PRECISION = 1_000_000;

    IVault public immutable vault;

    constructor(IVault vault_) {
        vault = vault_;
    }

    function getPositionFee(uint256 size) public view returns (uint256) {
        if (size == 0) return 0;
        return size - size * (BASIS_POINTS_DIVISOR - vault.marginFeeBasisPoints()) / BASIS_POINTS_DIVISOR;
    }

    function getFundingFee(address collateralToken, uint256 size, uint256 entryFundingRate)
        public
        view
        returns (uint256)
    {
        if (size == 0) return 0;
        return size * (vault.cumulativeFundingRates(collateralToken) - entryFundingRate) / FUNDING_RATE_PRECISION;
    }

    /// The leverage test does not count the fees; the fee reported is capped where the collateral can't pay it.
    function validateLiquidation(
        address account,
        address collateralToken,
        address indexToken,
        bool isLong,
        bool raiseError
    ) external view returns (uint256, uint256) {
        (uint256 size, uint256 collateral, bool hasProfit, uint256 delta, uint256 marginFees) =
            _figures(account, collateralToken, indexToken, isLong);
        if (!hasProfit && collateral < delta) {
            require(!raiseError, "Vault: losses exceed collateral");
            return (1, marginFees);
        }
        uint256 remaining = hasProfit ? collateral + delta : collateral - delta;
        if (remaining < marginFees) {
            require(!raiseError, "Vault: fees exceed collateral");
            return (1, remaining);
        }
        if (remaining < marginFees + vault.liquidationFeeUsd()) {
            require(!raiseError, "Vault: liquidation fees exceed collateral");
            return (1, marginFees);
        }
        if (remaining * vault.maxLeverage() < size * BASIS_POINTS_DIVISOR) {
            require(!raiseError, "Vault: maxLeverage exceeded");
            return (2, marginFees);
        }
        return (0, marginFees);
    }

    function _figures(address account, address collateralToken, address indexToken, bool isLong)
        private
        view
        returns (uint256 size, uint256 collateral, bool hasProfit, uint256 delta, uint256 marginFees)
    {
        uint256 averagePrice;
        uint256 entryFundingRate;
        uint256 lastIncreasedTime;
        (size, collateral, averagePrice, entryFundingRate,,,, lastIncreasedTime) =
            vault.getPosition(account, collateralToken, indexToken, isLong);
        (hasProfit, delta) = vault.getDelta(indexToken, size, averagePrice, isLong, lastIncreasedTime);
        marginFees = getFundingFee(collateralToken, size, entryFundingRate) + getPositionFee(size);
    }
}
