// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// One account's collateral in the lending protocol. Only the pool moves it.
interface IVault {
    function pool() external view returns (address);

    function comptroller() external view returns (address);

    function vaultLiquidityMultiplier() external view returns (uint256);

    /// What the collateral is worth as margin, 18-decimal.
    function getVaultLiquidity() external view returns (uint256);

    function getMarketsIn() external view returns (address[] memory);

    function getBalances(address vToken) external view returns (uint256 vTokenBalance, uint256 underlyingBalance);

    function mint(address vToken, uint256 amount) external payable;

    /// Sends `amount` of the underlying to the pool.
    function redeem(address vToken, uint256 amount) external;

    /// Sends all to the pool; answers how much it was.
    function redeemAll(address vToken) external returns (uint256 amount);
}
