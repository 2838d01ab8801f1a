// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

interface ISwapper {
    function maxSlippageRatio() external view returns (uint256);

    /// Takes the caller's tokens (or, for the zero address, the coins sent along) and pays B0 for them.
    function swapForB0(address token, uint256 amount) external payable returns (uint256 amountB0);
}
