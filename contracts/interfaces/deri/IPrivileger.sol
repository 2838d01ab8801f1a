// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// Stakes of DERI, and who may liquidate because of them.
interface IPrivileger {
    event Deposit(address token, address user, uint256 amount);
    event Withdraw(address token, address user, uint256 amount);

    function deri() external view returns (address);

    function minLockTime() external view returns (uint256);

    function minDepositAmount() external view returns (uint256);

    function stakes(address token, address user) external view returns (uint256);

    function stakeTimestamps(address token, address user) external view returns (uint256);

    function stakesTotal(address token) external view returns (uint256);

    function stakesCount(address token) external view returns (uint256);

    function deposit(uint256 amount) external;

    function withdraw(uint256 amount) external;

    /// Reverts while the user's stake is younger than `minLockTime`.
    function isQualifiedLiquidator(address user) external view returns (bool);
}
