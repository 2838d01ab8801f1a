// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {IVault, ITimelock} from "./Interfaces.sol";

/// Governs the vault. Between calls the vault holds the maximum margin fee; handlers lower it around theirs. Delays and
/// signals of a real timelock are left out: the admin acts at once through `execute`.
contract Timelock is ITimelock {
    address public admin = msg.sender;
    bool public shouldToggleIsLeverageEnabled = true;
    uint256 public marginFeeBasisPoints;
    uint256 public maxMarginFeeBasisPoints;
    mapping(address => bool) public isHandler;

    modifier onlyAdmin() {
        require(msg.sender == admin, "Timelock: forbidden");
        _;
    }

    modifier onlyHandlerAndAbove() {
        require(msg.sender == admin || isHandler[msg.sender], "Timelock: forbidden");
        _;
    }

    constructor(uint256 marginFeeBasisPoints_, uint256 maxMarginFeeBasisPoints_) {
        marginFeeBasisPoints = marginFeeBasisPoints_;
        maxMarginFeeBasisPoints = maxMarginFeeBasisPoints_;
    }

    function setHandler(address handler, bool isActive) external onlyAdmin {
        isHandler[handler] = isActive;
    }

    function setMarginFeeBasisPoints(uint256 marginFee, uint256 maxMarginFee) external onlyAdmin {
        marginFeeBasisPoints = marginFee;
        maxMarginFeeBasisPoints = maxMarginFee;
    }

    function setShouldToggleIsLeverageEnabled(bool should) external onlyAdmin {
        shouldToggleIsLeverageEnabled = should;
    }

    /// Anything that only the governor of a contract may do.
    function execute(address target, bytes calldata data) external onlyAdmin {
        (bool ok, bytes memory answer) = target.call(data);
        if (!ok) {
            assembly {
                revert(add(answer, 32), mload(answer))
            }
        }
    }

    function enableLeverage(address vault) external onlyHandlerAndAbove {
        if (shouldToggleIsLeverageEnabled) IVault(vault).setIsLeverageEnabled(true);
        _setMarginFee(IVault(vault), marginFeeBasisPoints);
    }

    function disableLeverage(address vault) external onlyHandlerAndAbove {
        if (shouldToggleIsLeverageEnabled) IVault(vault).setIsLeverageEnabled(false);
        _setMarginFee(IVault(vault), maxMarginFeeBasisPoints);
    }

    function _setMarginFee(IVault vault, uint256 basisPoints) private {
        vault.setFees(basisPoints, vault.liquidationFeeUsd(), vault.minProfitTime());
    }
}
