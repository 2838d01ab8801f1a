// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IVToken} from "../../../interfaces/deri/ILending.sol";
import {OracleSignature} from "../../../interfaces/deri/IOracleManager.sol";
import {ISwapper} from "../../../interfaces/deri/ISwapper.sol";
import {AccountSettlement} from "../../../interfaces/deri/ISymbolManager.sol";
import {IVault} from "../../../interfaces/deri/IVault.sol";
import {Fixed, ONE} from "../math/Fixed.sol";
import {PoolBase} from "./PoolBase.sol";

/// The full pool: every provider and trader has a vault in the lending protocol; of each deposit of B0 the pool keeps
/// a part at hand, which is what `amountB0` moves.
contract PoolImplementation is PoolBase {
    using SafeERC20 for IERC20;

    struct VaultParts {
        address vaultImplementation;
        address vTokenB0;
        address vTokenETH;
        address swapper;
        int256 reserveRatioB0;
        int256 minRatioB0;
    }

    address public immutable vaultImplementation;
    address public immutable vTokenB0;
    address public immutable vTokenETH;
    ISwapper public immutable swapper;
    uint256 public immutable decimalsB0;
    int256 public immutable reserveRatioB0;
    int256 public immutable minRatioB0;

    /// The lending market of each accepted collateral; the zero address stands for the native coin.
    mapping(address underlying => address vToken) public markets;

    event AddMarket(address indexed vToken);

    constructor(Parts memory parts, Rules memory rules, VaultParts memory vaults) PoolBase(parts, rules) {
        vaultImplementation = vaults.vaultImplementation;
        vTokenB0 = vaults.vTokenB0;
        vTokenETH = vaults.vTokenETH;
        swapper = ISwapper(vaults.swapper);
        reserveRatioB0 = vaults.reserveRatioB0;
        minRatioB0 = vaults.minRatioB0;
        decimalsB0 = _decimalsB0;
    }

    receive() external payable {}

    function addMarket(address vToken) external onlyAdmin {
        markets[IVToken(vToken).underlying()] = vToken;
        emit AddMarket(vToken);
    }

    function addLiquidity(address underlying, uint256 amount, OracleSignature[] memory oracleSignatures)
        external
        payable
        locked
    {
        _updateOracles(oracleSignatures);
        AccountSettlement memory s = symbolManager.settleSymbolsOnAddLiquidity(liquidity + lpsPnl);
        if (liquidity > 0) _distribute(s.funding - s.deltaTradersPnl);

        uint256 lTokenId = lToken.exists(msg.sender) ? lToken.getTokenIdOf(msg.sender) : lToken.mint(msg.sender);
        LpInfo storage lp = lpInfos[lTokenId];
        if (lp.vault == address(0)) lp.vault = Clones.clone(vaultImplementation);
        _settleProvider(lp);
        amount = _receive(underlying, amount);
        lp.amountB0 += _deposit(lp.vault, underlying, amount);
        _setLiquidity(lp, _vaultLiquidity(lp.vault) + lp.amountB0);
        emit AddLiquidity(lTokenId, underlying, amount, lp.liquidity);
    }

    function removeLiquidity(address underlying, uint256 amount, OracleSignature[] memory oracleSignatures)
        external
        locked
    {
        _updateOracles(oracleSignatures);
        AccountSettlement memory s = symbolManager.settleSymbolsOnRemoveLiquidity(liquidity + lpsPnl);
        _distribute(s.funding - s.deltaTradersPnl);

        uint256 lTokenId = lToken.getTokenIdOf(msg.sender);
        LpInfo storage lp = lpInfos[lTokenId];
        _settleProvider(lp);
        lp.amountB0 -= _withdraw(lp.vault, underlying, amount);
        int256 vaultLiquidity = _vaultLiquidity(lp.vault);
        if (lp.amountB0 < vaultLiquidity * minRatioB0 / ONE) _refuse("removeLiquidity: insufficient B0");
        _setLiquidity(lp, vaultLiquidity + lp.amountB0);
        _checkPoolMargin("removeLiquidity: pool insufficient liquidity");
        _send(underlying, amount);
        emit RemoveLiquidity(lTokenId, underlying, amount, lp.liquidity);
    }

    function addMargin(address underlying, uint256 amount, OracleSignature[] memory oracleSignatures)
        external
        payable
        locked
    {
        _updateOracles(oracleSignatures);
        uint256 pTokenId = pToken.exists(msg.sender) ? pToken.getTokenIdOf(msg.sender) : pToken.mint(msg.sender);
        TdInfo storage td = tdInfos[pTokenId];
        amount = _receive(underlying, amount);
        td.amountB0 += _deposit(_traderVault(pTokenId), underlying, amount);
        emit AddMargin(pTokenId, underlying, amount, _vaultLiquidity(td.vault) + td.amountB0);
    }

    function removeMargin(address underlying, uint256 amount, OracleSignature[] memory oracleSignatures)
        external
        locked
    {
        _updateOracles(oracleSignatures);
        uint256 pTokenId = pToken.getTokenIdOf(msg.sender);
        TdInfo storage td = tdInfos[pTokenId];
        AccountSettlement memory s = symbolManager.settleSymbolsOnRemoveMargin(pTokenId, liquidity + lpsPnl);
        _distribute(s.funding - s.deltaTradersPnl);

        td.amountB0 -= s.traderFunding + _withdraw(td.vault, underlying, amount);
        int256 margin = _vaultLiquidity(td.vault) + td.amountB0;
        if (margin + s.traderPnl < s.traderInitialMarginRequired || margin < 0) {
            _refuse("removeMargin: insufficient margin");
        }
        _send(underlying, amount);
        emit RemoveMargin(pTokenId, underlying, amount, margin);
    }

    function _contractName() internal pure override returns (string memory) {
        return "PoolImplementation";
    }

    function _vaultLiquidity(address vault) internal view override returns (int256) {
        return Fixed.toInt(IVault(vault).getVaultLiquidity());
    }

    /// Market by market in the order of membership; what is not B0 is swapped.
    function _emptyVault(address vault) internal override returns (int256) {
        uint256 amountB0;
        address[] memory vTokens = IVault(vault).getMarketsIn();
        for (uint256 i = 0; i < vTokens.length; i++) {
            if (IVToken(vTokens[i]).balanceOf(vault) == 0) continue;
            address underlying = vTokens[i] == vTokenETH ? address(0) : IVToken(vTokens[i]).underlying();
            uint256 redeemed = IVault(vault).redeemAll(vTokens[i]);
            if (underlying == tokenB0) {
                amountB0 += redeemed;
            } else if (underlying == address(0)) {
                amountB0 += swapper.swapForB0{value: redeemed}(underlying, redeemed);
            } else {
                IERC20(underlying).forceApprove(address(swapper), redeemed);
                amountB0 += swapper.swapForB0(underlying, redeemed);
            }
        }
        return _fromTokens(amountB0);
    }

    function _traderVault(uint256 pTokenId) internal returns (address vault) {
        vault = tdInfos[pTokenId].vault;
        if (vault == address(0)) {
            vault = Clones.clone(vaultImplementation);
            tdInfos[pTokenId].vault = vault;
        }
    }

    function _receive(address underlying, uint256 amount) private returns (uint256) {
        require(markets[underlying] != address(0), "PoolImplementation: unsupported underlying");
        if (underlying == address(0)) return msg.value;
        IERC20(underlying).safeTransferFrom(msg.sender, address(this), amount);
        return amount;
    }

    function _send(address underlying, uint256 amount) private {
        if (underlying == address(0)) {
            (bool sent,) = msg.sender.call{value: amount}("");
            require(sent, "PoolImplementation: payment refused");
        } else {
            IERC20(underlying).safeTransfer(msg.sender, amount);
        }
    }

    /// Puts what the pool has received into the vault. Answers the B0 that stays at hand instead.
    function _deposit(address vault, address underlying, uint256 amount) internal returns (int256 kept) {
        address vToken = markets[underlying];
        if (underlying == address(0)) {
            IVault(vault).mint{value: amount}(vToken, amount);
            return 0;
        }
        if (underlying == tokenB0) {
            uint256 reserve = amount * uint256(reserveRatioB0) / uint256(ONE);
            kept = _fromTokens(reserve);
            amount -= reserve;
        }
        IERC20(underlying).safeTransfer(vault, amount);
        IVault(vault).mint(vToken, amount);
    }

    /// Takes collateral out of the vault. Answers what has to come out of `amountB0`, the vault's B0 being used first.
    function _withdraw(address vault, address underlying, uint256 amount) private returns (int256 missing) {
        address vToken = markets[underlying];
        require(vToken != address(0), "PoolImplementation: unsupported underlying");
        if (underlying == tokenB0) {
            (, uint256 held) = IVault(vault).getBalances(vToken);
            if (amount > held) {
                missing = _fromTokens(amount - held);
                amount = held;
            }
        }
        if (amount > 0) IVault(vault).redeem(vToken, amount);
    }
}
