// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IComptroller, IVToken} from "../../../interfaces/deri/ILending.sol";
import {IVault} from "../../../interfaces/deri/IVault.sol";
import {NameVersion} from "../proxy/NameVersion.sol";

/// The code of every vault; a vault itself is a clone of this, with no storage but what the lending protocol keeps
/// about its address.
contract VaultImplementation is IVault, NameVersion {
    using SafeERC20 for IERC20;

    address public immutable pool;
    address public immutable comptroller;
    address public immutable vTokenETH;
    uint256 public immutable vaultLiquidityMultiplier;

    modifier onlyPool() {
        require(msg.sender == pool, "VaultImplementation: only pool");
        _;
    }

    constructor(address pool_, address comptroller_, address vTokenETH_, uint256 vaultLiquidityMultiplier_)
        NameVersion("VaultImplementation", "3.0.1")
    {
        pool = pool_;
        comptroller = comptroller_;
        vTokenETH = vTokenETH_;
        vaultLiquidityMultiplier = vaultLiquidityMultiplier_;
    }

    receive() external payable {}

    function getVaultLiquidity() external view returns (uint256) {
        (uint256 failure, uint256 liquidity, uint256 shortfall) =
            IComptroller(comptroller).getAccountLiquidity(address(this));
        require(failure == 0 && shortfall == 0, "VaultImplementation.getVaultLiquidity: error with getAccountLiquidity");
        return liquidity * vaultLiquidityMultiplier / 1e18;
    }

    function getMarketsIn() external view returns (address[] memory) {
        return IComptroller(comptroller).getAssetsIn(address(this));
    }

    function getBalances(address vToken) external view returns (uint256 vTokenBalance, uint256 underlyingBalance) {
        vTokenBalance = IVToken(vToken).balanceOf(address(this));
        underlyingBalance = vTokenBalance * IVToken(vToken).exchangeRateStored() / 1e18;
    }

    function mint(address vToken, uint256 amount) external payable onlyPool {
        if (!IComptroller(comptroller).checkMembership(address(this), vToken)) {
            address[] memory entered = new address[](1);
            entered[0] = vToken;
            uint256 failure = IComptroller(comptroller).enterMarkets(entered)[0];
            require(failure == 0, "VaultImplementation.mint: enterMarkets error");
        }
        if (vToken == vTokenETH) {
            IVToken(vToken).mint{value: msg.value}();
        } else {
            IERC20(IVToken(vToken).underlying()).forceApprove(vToken, amount);
            require(IVToken(vToken).mint(amount) == 0, "VaultImplementation.mint: mint error");
        }
    }

    function redeem(address vToken, uint256 amount) external onlyPool {
        require(IVToken(vToken).redeemUnderlying(amount) == 0, "VaultImplementation.redeem: redeem error");
        _handOver(vToken);
    }

    function redeemAll(address vToken) external onlyPool returns (uint256) {
        uint256 vTokens = IVToken(vToken).balanceOf(address(this));
        require(IVToken(vToken).redeem(vTokens) == 0, "VaultImplementation.redeemAll: redeem error");
        return _handOver(vToken);
    }

    function _handOver(address vToken) private returns (uint256 amount) {
        if (vToken == vTokenETH) {
            amount = address(this).balance;
            (bool sent,) = pool.call{value: amount}("");
            require(sent, "VaultImplementation: payment refused");
        } else {
            IERC20 token = IERC20(IVToken(vToken).underlying());
            amount = token.balanceOf(address(this));
            token.safeTransfer(pool, amount);
        }
    }
}
