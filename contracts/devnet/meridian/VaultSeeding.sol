// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {Vault} from "./Vault.sol";

/// The vault with a short cut for local chains: the governor enters many open positions in one transaction. They look
/// like opened ones, with events and all; pool, reserves and guarantees follow, margin fees are not charged.
contract VaultSeeding is Vault {
    struct Seed {
        address account;
        address collateralToken;
        address indexToken;
        bool isLong;
        uint256 size;
        uint256 collateral;
        uint256 averagePrice;
    }

    function seed(Seed[] calldata seeds) external onlyGov {
        for (uint256 i = 0; i < seeds.length; ++i) {
            _seed(seeds[i]);
        }
    }

    function _seed(Seed calldata s) private {
        bytes32 key = getPositionKey(s.account, s.collateralToken, s.indexToken, s.isLong);
        require(positions[key].size == 0, "VaultSeeding: position exists");
        updateCumulativeFundingRate(s.collateralToken, s.indexToken);
        // Collateral that was transferred in beforehand is nobody's deposit.
        _transferIn(s.collateralToken);
        uint256 reserve = usdToTokenMax(s.collateralToken, s.size);
        Position memory position = Position(
            s.size, s.collateral, s.averagePrice, cumulativeFundingRates[s.collateralToken], reserve, 0, block.timestamp
        );
        positions[key] = position;
        _increaseReservedAmount(s.collateralToken, reserve);
        if (s.isLong) _increaseGuaranteedUsd(s.collateralToken, s.size - s.collateral);
        else _increaseGlobalShort(s.indexToken, s.averagePrice, s.size);
        emit IncreasePosition(
            key, s.account, s.collateralToken, s.indexToken, s.collateral, s.size, s.isLong, s.averagePrice, 0
        );
        emit UpdatePosition(
            key,
            position.size,
            position.collateral,
            position.averagePrice,
            position.entryFundingRate,
            position.reserveAmount,
            0,
            s.averagePrice
        );
    }
}
