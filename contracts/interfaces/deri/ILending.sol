// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// A market of a Venus-like lending protocol: it takes one underlying and gives vTokens for it.
interface IVToken {
    function comptroller() external view returns (address);

    /// Zero for the native coin.
    function underlying() external view returns (address);

    function balanceOf(address account) external view returns (uint256);

    function transfer(address to, uint256 vTokens) external returns (bool);

    function borrowBalanceStored(address account) external view returns (uint256);

    /// As of the last accrual of interest; what a redemption really gives is a little more.
    function exchangeRateStored() external view returns (uint256);

    function accrueInterest() external returns (uint256 failure);

    function mint(uint256 amount) external returns (uint256 failure);

    /// For the native coin.
    function mint() external payable;

    function redeem(uint256 vTokens) external returns (uint256 failure);

    function redeemUnderlying(uint256 amount) external returns (uint256 failure);
}

interface IPriceOracle {
    /// So scaled that `amount of underlying * price / 1e18` is in 18-decimal money.
    function getUnderlyingPrice(address vToken) external view returns (uint256);
}

interface IComptroller {
    function oracle() external view returns (address);

    function markets(address vToken)
        external
        view
        returns (bool isListed, uint256 collateralFactorMantissa, bool isVenus);

    function enterMarkets(address[] calldata vTokens) external returns (uint256[] memory failures);

    function exitMarket(address vToken) external returns (uint256 failure);

    function getAssetsIn(address account) external view returns (address[] memory);

    function checkMembership(address account, address vToken) external view returns (bool);

    function getAccountLiquidity(address account)
        external
        view
        returns (uint256 failure, uint256 liquidity, uint256 shortfall);

    function redeemAllowed(address vToken, address account, uint256 vTokens) external view returns (bool);

    function borrowAllowed(address vToken, address account, uint256 amount) external view returns (bool);
}
