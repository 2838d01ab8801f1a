// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IDToken} from "../../../interfaces/deri/IDToken.sol";
import {IOracleManager, OracleSignature} from "../../../interfaces/deri/IOracleManager.sol";
import {IPrivileger} from "../../../interfaces/deri/IPrivileger.sol";
import {AccountSettlement, ISymbolManager} from "../../../interfaces/deri/ISymbolManager.sol";
import {Fixed, ONE} from "../math/Fixed.sol";
import {NameVersion} from "../proxy/NameVersion.sol";
import {PoolStorage} from "./PoolStorage.sol";

/// What the Lite and the full pool share: trading, liquidating, and the liquidity providers' PnL. They differ in
/// where collateral sits. All figures are 18-decimal; B0's own decimals appear only where tokens move.
abstract contract PoolBase is PoolStorage, NameVersion {
    using SafeERC20 for IERC20Metadata;

    /// The contracts a pool works with. `privileger` may be zero: then anybody may liquidate.
    struct Parts {
        address tokenB0;
        address lToken;
        address pToken;
        address oracleManager;
        address symbolManager;
        address privileger;
    }

    struct Rules {
        int256 poolInitialMarginMultiplier;
        int256 protocolFeeCollectRatio;
        int256 minLiquidationReward;
        int256 maxLiquidationReward;
        int256 liquidationRewardCutRatio;
    }

    event AddLiquidity(uint256 indexed lTokenId, address indexed underlying, uint256 amount, int256 newLiquidity);
    event RemoveLiquidity(uint256 indexed lTokenId, address indexed underlying, uint256 amount, int256 newLiquidity);
    event AddMargin(uint256 indexed pTokenId, address indexed underlying, uint256 amount, int256 newMargin);
    event RemoveMargin(uint256 indexed pTokenId, address indexed underlying, uint256 amount, int256 newMargin);

    address public immutable tokenB0;
    IDToken public immutable lToken;
    IDToken public immutable pToken;
    IOracleManager public immutable oracleManager;
    ISymbolManager public immutable symbolManager;
    IPrivileger public immutable privileger;
    int256 public immutable poolInitialMarginMultiplier;
    int256 public immutable protocolFeeCollectRatio;
    int256 public immutable minLiquidationReward;
    int256 public immutable maxLiquidationReward;
    int256 public immutable liquidationRewardCutRatio;

    /// The decimals of B0, under a name that does not make it a getter: the Lite pool has none.
    uint256 internal immutable _decimalsB0;

    modifier locked() {
        require(!_entered, "ReentryLock: reentry");
        _entered = true;
        _;
        _entered = false;
    }

    constructor(Parts memory parts, Rules memory rules) NameVersion("PoolImplementation", "3.0.2") {
        tokenB0 = parts.tokenB0;
        lToken = IDToken(parts.lToken);
        pToken = IDToken(parts.pToken);
        oracleManager = IOracleManager(parts.oracleManager);
        symbolManager = ISymbolManager(parts.symbolManager);
        privileger = IPrivileger(parts.privileger);
        poolInitialMarginMultiplier = rules.poolInitialMarginMultiplier;
        protocolFeeCollectRatio = rules.protocolFeeCollectRatio;
        minLiquidationReward = rules.minLiquidationReward;
        maxLiquidationReward = rules.maxLiquidationReward;
        liquidationRewardCutRatio = rules.liquidationRewardCutRatio;
        _decimalsB0 = IERC20Metadata(parts.tokenB0).decimals();
    }

    // ---- what a flavour answers

    function _contractName() internal pure virtual returns (string memory);

    /// What the vault's assets are worth as margin.
    function _vaultLiquidity(address vault) internal virtual returns (int256);

    /// Turns all that a vault holds into B0; answers how much.
    function _emptyVault(address vault) internal virtual returns (int256);

    // ---- trading and liquidating

    function trade(
        string memory symbolName,
        int256 tradeVolume,
        int256 priceLimit,
        OracleSignature[] memory oracleSignatures
    ) external locked {
        _updateOracles(oracleSignatures);
        uint256 pTokenId = pToken.getTokenIdOf(msg.sender);
        if (pTokenId == 0) _refuse("trade: trader has no pToken");
        AccountSettlement memory s = symbolManager.settleSymbolsOnTrade(
            pTokenId, keccak256(bytes(symbolName)), tradeVolume, liquidity + lpsPnl, priceLimit
        );

        int256 collected = s.tradeFee * protocolFeeCollectRatio / ONE;
        protocolFeeAccrued += collected;
        _distribute(s.funding - s.deltaTradersPnl + s.traderRealizedCost + s.tradeFee - collected);

        TdInfo storage td = tdInfos[pTokenId];
        td.amountB0 -= s.traderFunding + s.traderRealizedCost + s.tradeFee;
        _checkPoolMargin("trade: insufficient liquidity");
        if (_vaultLiquidity(td.vault) + td.amountB0 + s.traderPnl < s.traderInitialMarginRequired) {
            _refuse("trade: insufficient margin");
        }
    }

    /// Closes a whole account that no longer has its maintenance margin, and pays the caller for it.
    function liquidate(uint256 pTokenId, OracleSignature[] memory oracleSignatures) external locked {
        if (address(privileger) != address(0) && !privileger.isQualifiedLiquidator(msg.sender)) {
            _refuse("liquidate: unqualified liquidator");
        }
        _updateOracles(oracleSignatures);
        if (!pToken.exists(pTokenId)) _refuse("liquidate: nonexistent pTokenId");

        AccountSettlement memory s = symbolManager.settleSymbolsOnLiquidate(pTokenId, liquidity + lpsPnl);

        TdInfo storage td = tdInfos[pTokenId];
        int256 available = td.amountB0 - s.traderFunding;
        int256 margin = _vaultLiquidity(td.vault) + available;
        if (s.traderMaintenanceMarginRequired <= 0) _refuse("liquidate: no position");
        if (margin + s.traderPnl >= s.traderMaintenanceMarginRequired) _refuse("liquidate: cannot liquidate");

        available += _emptyVault(td.vault) - s.traderRealizedCost;
        uint256 reward = _toTokens(_liquidationReward(available));
        td.amountB0 = 0;
        _distribute(s.funding - s.deltaTradersPnl + s.traderRealizedCost + available - _fromTokens(reward));

        IERC20Metadata(tokenB0).safeTransfer(msg.sender, reward);
    }

    /// The minimum is paid even when nothing is left of the account.
    function _liquidationReward(int256 available) internal view returns (int256) {
        if (available <= minLiquidationReward) return minLiquidationReward;
        return Fixed.min(
            (available - minLiquidationReward) * liquidationRewardCutRatio / ONE + minLiquidationReward,
            maxLiquidationReward
        );
    }

    // ---- liquidity providers

    /// Credits a provider with its share of what the pool has earned or lost since it was last here.
    function _settleProvider(LpInfo storage lp) internal {
        int256 pnl = (cumulativePnlPerLiquidity - lp.cumulativePnlPerLiquidity) * lp.liquidity / ONE;
        lp.amountB0 += pnl;
        lpsPnl -= pnl;
        lp.cumulativePnlPerLiquidity = cumulativePnlPerLiquidity;
    }

    function _setLiquidity(LpInfo storage lp, int256 newLiquidity) internal {
        liquidity += newLiquidity - lp.liquidity;
        lp.liquidity = newLiquidity;
    }

    // ---- the protocol's own

    function setProtocolFeeCollector(address collector) external onlyAdmin {
        protocolFeeCollector = collector;
    }

    function collectProtocolFee() external locked {
        require(protocolFeeCollector != address(0), "Pool.collectProtocolFee: no collector");
        uint256 amount = _toTokens(protocolFeeAccrued);
        protocolFeeAccrued -= _fromTokens(amount);
        IERC20Metadata(tokenB0).safeTransfer(protocolFeeCollector, amount);
    }

    // ---- the steps they are made of

    /// A signature that is old or wrong changes nothing and stops nothing.
    function _updateOracles(OracleSignature[] memory oracleSignatures) internal {
        for (uint256 i = 0; i < oracleSignatures.length; i++) {
            OracleSignature memory o = oracleSignatures[i];
            oracleManager.updateValue(o.oracleSymbolId, o.timestamp, o.value, o.v, o.r, o.s);
        }
    }

    /// Gives the pool's gain or loss to the liquidity providers.
    function _distribute(int256 pnl) internal {
        if (pnl == 0) return;
        lpsPnl += pnl;
        cumulativePnlPerLiquidity += pnl * ONE / liquidity;
    }

    function _checkPoolMargin(string memory reason) internal view {
        if ((liquidity + lpsPnl) * ONE < symbolManager.initialMarginRequired() * poolInitialMarginMultiplier) {
            _refuse(reason);
        }
    }

    function _toTokens(int256 amount) internal view returns (uint256) {
        return Fixed.rescale(Fixed.toUint(amount), 18, _decimalsB0);
    }

    function _fromTokens(uint256 amount) internal view returns (int256) {
        return Fixed.toInt(Fixed.rescale(amount, _decimalsB0, 18));
    }

    function _refuse(string memory reason) internal pure {
        revert(string.concat(_contractName(), ".", reason));
    }
}
