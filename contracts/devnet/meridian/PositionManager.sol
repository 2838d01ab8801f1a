// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {IVault, ITimelock} from "./Interfaces.sol";

/// The listed liquidators' way in: has the vault's timelock switch the margin fee around the call.
contract PositionManager {
    IVault public immutable vault;
    address public admin = msg.sender;
    mapping(address => bool) public isLiquidator;

    event SetLiquidator(address indexed account, bool isActive);

    modifier onlyLiquidator() {
        require(isLiquidator[msg.sender], "PositionManager: forbidden");
        _;
    }

    constructor(IVault vault_) {
        vault = vault_;
    }

    function setLiquidator(address account, bool isActive) external {
        require(msg.sender == admin, "BasePositionManager: forbidden");
        isLiquidator[account] = isActive;
        emit SetLiquidator(account, isActive);
    }

    /// A governor without code has no `enableLeverage`: the call then reverts with no data.
    function liquidatePosition(
        address account,
        address collateralToken,
        address indexToken,
        bool isLong,
        address feeReceiver
    ) external onlyLiquidator {
        address timelock = vault.gov();
        ITimelock(timelock).enableLeverage(address(vault));
        vault.liquidatePosition(account, collateralToken, indexToken, isLong, feeReceiver);
        ITimelock(timelock).disableLeverage(address(vault));
    }
}
