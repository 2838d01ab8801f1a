// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {OracleSignature} from "../../../interfaces/deri/IOracleManager.sol";
import {AccountSettlement} from "../../../interfaces/deri/ISymbolManager.sol";
import {Fixed} from "../math/Fixed.sol";
import {PoolBase} from "./PoolBase.sol";

/// The pool without vaults: collateral is B0 alone, with 18 decimals, and the pool holds all of it.
contract PoolImplementationLite is PoolBase {
    using SafeERC20 for IERC20Metadata;

    constructor(Parts memory parts, Rules memory rules) PoolBase(parts, rules) {
        require(_decimalsB0 == 18, "PoolImplementationLite.constructor: tokenB0 must be in decimals 18");
    }

    function addLiquidity(uint256 amount, OracleSignature[] memory oracleSignatures) external locked {
        _updateOracles(oracleSignatures);
        AccountSettlement memory s = symbolManager.settleSymbolsOnAddLiquidity(liquidity + lpsPnl);
        if (liquidity > 0) _distribute(s.funding - s.deltaTradersPnl);

        uint256 lTokenId = lToken.exists(msg.sender) ? lToken.getTokenIdOf(msg.sender) : lToken.mint(msg.sender);
        LpInfo storage lp = lpInfos[lTokenId];
        _settleProvider(lp);
        IERC20Metadata(tokenB0).safeTransferFrom(msg.sender, address(this), amount);
        lp.amountB0 += Fixed.toInt(amount);
        _setLiquidity(lp, lp.amountB0);
        emit AddLiquidity(lTokenId, tokenB0, amount, lp.liquidity);
    }

    function removeLiquidity(uint256 amount, OracleSignature[] memory oracleSignatures) external locked {
        _updateOracles(oracleSignatures);
        AccountSettlement memory s = symbolManager.settleSymbolsOnRemoveLiquidity(liquidity + lpsPnl);
        _distribute(s.funding - s.deltaTradersPnl);

        uint256 lTokenId = lToken.getTokenIdOf(msg.sender);
        LpInfo storage lp = lpInfos[lTokenId];
        _settleProvider(lp);
        lp.amountB0 -= Fixed.toInt(amount);
        if (lp.amountB0 < 0) _refuse("removeLiquidity: insufficient liquidity");
        _setLiquidity(lp, lp.amountB0);
        _checkPoolMargin("removeLiquidity: pool insufficient liquidity");
        IERC20Metadata(tokenB0).safeTransfer(msg.sender, amount);
        emit RemoveLiquidity(lTokenId, tokenB0, amount, lp.liquidity);
    }

    function addMargin(uint256 amount, OracleSignature[] memory oracleSignatures) external locked {
        _updateOracles(oracleSignatures);
        uint256 pTokenId = pToken.exists(msg.sender) ? pToken.getTokenIdOf(msg.sender) : pToken.mint(msg.sender);
        TdInfo storage td = tdInfos[pTokenId];
        IERC20Metadata(tokenB0).safeTransferFrom(msg.sender, address(this), amount);
        td.amountB0 += Fixed.toInt(amount);
        emit AddMargin(pTokenId, tokenB0, amount, td.amountB0);
    }

    function removeMargin(uint256 amount, OracleSignature[] memory oracleSignatures) external locked {
        _updateOracles(oracleSignatures);
        uint256 pTokenId = pToken.getTokenIdOf(msg.sender);
        TdInfo storage td = tdInfos[pTokenId];
        AccountSettlement memory s = symbolManager.settleSymbolsOnRemoveMargin(pTokenId, liquidity + lpsPnl);
        _distribute(s.funding - s.deltaTradersPnl);

        td.amountB0 -= s.traderFunding + Fixed.toInt(amount);
        if (td.amountB0 < 0 || td.amountB0 + s.traderPnl < s.traderInitialMarginRequired) {
            _refuse("removeMargin: insufficient margin");
        }
        IERC20Metadata(tokenB0).safeTransfer(msg.sender, amount);
        emit RemoveMargin(pTokenId, tokenB0, amount, td.amountB0);
    }

    function _contractName() internal pure override returns (string memory) {
        return "PoolImplementationLite";
    }

    function _vaultLiquidity(address) internal pure override returns (int256) {
        return 0;
    }

    function _emptyVault(address) internal pure override returns (int256) {
        return 0;
    }
}
