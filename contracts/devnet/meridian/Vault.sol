// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {ReentrancyGuard} from "@openzeppelin/contracts/utils/ReentrancyGuard.sol";
import {IVaultUtils} from "./Interfaces.sol";
import {VaultPools} from "./VaultPools.sol";

/// Leveraged positions against a pool: opened and topped up, reduced, liquidated. The liquidity token and swaps of the
/// real vault are left out; whoever wants a pool uses `directPoolDeposit`.
contract Vault is VaultPools, ReentrancyGuard {
    /// Collateral is transferred to the vault before this call. A size of zero only adds collateral.
    function increasePosition(
        address account,
        address collateralToken,
        address indexToken,
        uint256 sizeDelta,
        bool isLong
    ) external nonReentrant {
        _validate(isLeverageEnabled, 28);
        _validate(msg.sender == account, 41);
        _validateTokens(collateralToken, indexToken, isLong);
        updateCumulativeFundingRate(collateralToken, indexToken);

        bytes32 key = getPositionKey(account, collateralToken, indexToken, isLong);
        Position storage position = positions[key];
        uint256 price = isLong ? getMaxPrice(indexToken) : getMinPrice(indexToken);
        if (position.size == 0) {
            position.averagePrice = price;
        } else if (sizeDelta > 0) {
            position.averagePrice = _nextAveragePrice(position, indexToken, isLong, price, sizeDelta);
        }

        uint256 fee = _fees(collateralToken, sizeDelta, position.size, position.entryFundingRate);
        _collectMarginFees(collateralToken, fee);
        uint256 collateralDelta = _transferIn(collateralToken);
        uint256 collateralDeltaUsd = tokenToUsdMin(collateralToken, collateralDelta);
        position.collateral += collateralDeltaUsd;
        _validate(position.collateral >= fee, 29);
        position.collateral -= fee;
        position.entryFundingRate = cumulativeFundingRates[collateralToken];
        position.size += sizeDelta;
        position.lastIncreasedTime = block.timestamp;
        _validate(position.size > 0, 30);
        _validate(position.size >= position.collateral, 40);
        validateLiquidation(account, collateralToken, indexToken, isLong, true);

        uint256 reserveDelta = usdToTokenMax(collateralToken, sizeDelta);
        position.reserveAmount += reserveDelta;
        _increaseReservedAmount(collateralToken, reserveDelta);
        if (isLong) {
            _increaseGuaranteedUsd(collateralToken, sizeDelta + fee);
            _decreaseGuaranteedUsd(collateralToken, collateralDeltaUsd);
            _increasePoolAmount(collateralToken, collateralDelta);
            _decreasePoolAmount(collateralToken, usdToTokenMin(collateralToken, fee));
        } else {
            _increaseGlobalShort(indexToken, price, sizeDelta);
        }

        emit IncreasePosition(
            key, account, collateralToken, indexToken, collateralDeltaUsd, sizeDelta, isLong, price, fee
        );
        _emitUpdate(key, position, price);
    }

    /// Reduces a position, or closes it when `sizeDelta` is all of it, and pays `receiver`.
    function decreasePosition(
        address account,
        address collateralToken,
        address indexToken,
        uint256 collateralDelta,
        uint256 sizeDelta,
        bool isLong,
        address receiver
    ) external nonReentrant returns (uint256) {
        _validate(msg.sender == account, 41);
        return
            _decreasePosition(
                _target(account, collateralToken, indexToken, isLong), collateralDelta, sizeDelta, receiver
            );
    }

    /// Order: the caller (34), the funding update, the position (35), the test (36), the settlement. Prices are read
    /// without the AMM's.
    function liquidatePosition(
        address account,
        address collateralToken,
        address indexToken,
        bool isLong,
        address feeReceiver
    ) external nonReentrant {
        if (inPrivateLiquidationMode) _validate(isLiquidator[msg.sender], 34);
        includeAmmPrice = false;
        updateCumulativeFundingRate(collateralToken, indexToken);
        Position memory position = positions[getPositionKey(account, collateralToken, indexToken, isLong)];
        _validate(position.size > 0, 35);
        (uint256 state, uint256 marginFees) = validateLiquidation(account, collateralToken, indexToken, isLong, false);
        _validate(state != 0, 36);
        Target memory target = _target(account, collateralToken, indexToken, isLong);
        if (state == 2) {
            _decreasePosition(target, 0, position.size, account);
        } else {
            _liquidate(target, position, marginFees, feeReceiver);
        }
        includeAmmPrice = true;
    }

    /// The test: 0 safe, 1 liquidatable, 2 above the leverage limit; and the margin fees it counted.
    function validateLiquidation(
        address account,
        address collateralToken,
        address indexToken,
        bool isLong,
        bool raiseError
    ) public view returns (uint256, uint256) {
        return IVaultUtils(vaultUtils).validateLiquidation(account, collateralToken, indexToken, isLong, raiseError);
    }

    /// Profit or loss at the present price. A profit within `minProfitTime` of an increase that is not above the
    /// token's minimum counts as zero, but stays a profit.
    function getDelta(address indexToken, uint256 size, uint256 averagePrice, bool isLong, uint256 lastIncreasedTime)
        public
        view
        returns (bool hasProfit, uint256 delta)
    {
        _validate(averagePrice > 0, 38);
        uint256 price = isLong ? getMinPrice(indexToken) : getMaxPrice(indexToken);
        uint256 difference = averagePrice > price ? averagePrice - price : price - averagePrice;
        delta = size * difference / averagePrice;
        hasProfit = isLong ? price > averagePrice : averagePrice > price;
        uint256 minimum = block.timestamp > lastIncreasedTime + minProfitTime ? 0 : minProfitBasisPoints[indexToken];
        if (hasProfit && delta * BASIS_POINTS_DIVISOR <= size * minimum) delta = 0;
    }

    function getPosition(address account, address collateralToken, address indexToken, bool isLong)
        external
        view
        returns (uint256, uint256, uint256, uint256, uint256, uint256, bool, uint256)
    {
        Position memory p = positions[getPositionKey(account, collateralToken, indexToken, isLong)];
        uint256 pnl = p.realisedPnl > 0 ? uint256(p.realisedPnl) : uint256(-p.realisedPnl);
        return (
            p.size,
            p.collateral,
            p.averagePrice,
            p.entryFundingRate,
            p.reserveAmount,
            pnl,
            p.realisedPnl >= 0,
            p.lastIncreasedTime
        );
    }

    /// What names a position.
    struct Target {
        address account;
        address collateralToken;
        address indexToken;
        bool isLong;
        bytes32 key;
    }

    function _target(address account, address collateralToken, address indexToken, bool isLong)
        private
        pure
        returns (Target memory)
    {
        bytes32 key = getPositionKey(account, collateralToken, indexToken, isLong);
        return Target(account, collateralToken, indexToken, isLong, key);
    }

    function _liquidate(Target memory t, Position memory position, uint256 marginFees, address feeReceiver) private {
        address token = t.collateralToken;
        _collectMarginFees(token, marginFees);
        _decreaseReservedAmount(token, position.reserveAmount);
        if (t.isLong) {
            _decreaseGuaranteedUsd(token, position.size - position.collateral);
            _decreasePoolAmount(token, usdToTokenMin(token, marginFees));
        }
        emit LiquidatePosition(
            t.key,
            t.account,
            token,
            t.indexToken,
            t.isLong,
            position.size,
            position.collateral,
            position.reserveAmount,
            position.realisedPnl,
            _markPrice(t)
        );
        if (!t.isLong) {
            if (marginFees < position.collateral) {
                _increasePoolAmount(token, usdToTokenMin(token, position.collateral - marginFees));
            }
            _decreaseGlobalShortSize(t.indexToken, position.size);
        }
        delete positions[t.key];
        // The receiver is paid out of the pool, whatever was left of the collateral.
        uint256 feeTokens = usdToTokenMin(token, liquidationFeeUsd);
        _decreasePoolAmount(token, feeTokens);
        _transferOut(token, feeTokens, feeReceiver);
    }

    function _decreasePosition(Target memory t, uint256 collateralDelta, uint256 sizeDelta, address receiver)
        private
        returns (uint256 amountOut)
    {
        address token = t.collateralToken;
        updateCumulativeFundingRate(token, t.indexToken);
        Position storage position = positions[t.key];
        _validate(position.size > 0, 31);
        _validate(position.size >= sizeDelta, 32);
        _validate(position.collateral >= collateralDelta, 33);

        uint256 collateral = position.collateral;
        uint256 reserveDelta = position.reserveAmount * sizeDelta / position.size;
        position.reserveAmount -= reserveDelta;
        _decreaseReservedAmount(token, reserveDelta);
        (uint256 usdOut, uint256 feeOut) = _reduceCollateral(t, position, collateralDelta, sizeDelta);

        bool closes = position.size == sizeDelta;
        if (!closes) {
            position.entryFundingRate = cumulativeFundingRates[token];
            position.size -= sizeDelta;
            _validate(position.size >= position.collateral, 40);
            validateLiquidation(t.account, t.collateralToken, t.indexToken, t.isLong, true);
        }
        if (t.isLong) {
            _increaseGuaranteedUsd(token, collateral - position.collateral);
            _decreaseGuaranteedUsd(token, sizeDelta);
        }
        _emitDecrease(t, collateralDelta, sizeDelta, feeOut);
        if (closes) {
            _emitClose(t.key, position);
            delete positions[t.key];
        } else {
            _emitUpdate(t.key, position, _markPrice(t));
        }
        if (!t.isLong) _decreaseGlobalShortSize(t.indexToken, sizeDelta);
        if (usdOut > 0) {
            if (t.isLong) _decreasePoolAmount(token, usdToTokenMin(token, usdOut));
            amountOut = usdToTokenMin(token, usdOut - feeOut);
            _transferOut(token, amountOut, receiver);
        }
    }

    /// Settles the share of profit or loss and the fees. The fee comes out of what is paid if that is more than the
    /// fee, else out of the collateral: then `feeOut` is zero.
    function _reduceCollateral(Target memory t, Position storage position, uint256 collateralDelta, uint256 sizeDelta)
        private
        returns (uint256 usdOut, uint256 feeOut)
    {
        address token = t.collateralToken;
        uint256 fee = _fees(token, sizeDelta, position.size, position.entryFundingRate);
        _collectMarginFees(token, fee);
        (bool hasProfit, uint256 delta) =
            getDelta(t.indexToken, position.size, position.averagePrice, t.isLong, position.lastIncreasedTime);
        delta = sizeDelta * delta / position.size;
        if (delta > 0) {
            if (hasProfit) {
                usdOut = delta;
                position.realisedPnl += int256(delta);
                if (!t.isLong) _decreasePoolAmount(token, usdToTokenMin(token, delta));
            } else {
                position.collateral -= delta;
                if (!t.isLong) _increasePoolAmount(token, usdToTokenMin(token, delta));
                position.realisedPnl -= int256(delta);
            }
        }
        if (collateralDelta > 0) {
            usdOut += collateralDelta;
            position.collateral -= collateralDelta;
        }
        if (position.size == sizeDelta) {
            usdOut += position.collateral;
            position.collateral = 0;
        }
        if (usdOut > fee) {
            feeOut = fee;
        } else {
            position.collateral -= fee;
            if (t.isLong) _decreasePoolAmount(token, usdToTokenMin(token, fee));
        }
        emit UpdatePnl(t.key, hasProfit, delta);
    }

    function _fees(address collateralToken, uint256 sizeDelta, uint256 size, uint256 entryFundingRate)
        private
        view
        returns (uint256)
    {
        return IVaultUtils(vaultUtils).getPositionFee(sizeDelta)
            + IVaultUtils(vaultUtils).getFundingFee(collateralToken, size, entryFundingRate);
    }

    function _nextAveragePrice(
        Position storage position,
        address indexToken,
        bool isLong,
        uint256 nextPrice,
        uint256 sizeDelta
    ) private view returns (uint256) {
        (bool hasProfit, uint256 delta) = getDelta(
            indexToken, position.size, position.averagePrice, isLong, position.lastIncreasedTime
        );
        uint256 nextSize = position.size + sizeDelta;
        uint256 divisor = isLong == hasProfit ? nextSize + delta : nextSize - delta;
        return nextPrice * nextSize / divisor;
    }

    function _increaseGlobalShort(address indexToken, uint256 price, uint256 sizeDelta) internal {
        uint256 size = globalShortSizes[indexToken];
        if (size == 0) {
            globalShortAveragePrices[indexToken] = price;
        } else {
            uint256 average = globalShortAveragePrices[indexToken];
            uint256 difference = average > price ? average - price : price - average;
            uint256 delta = size * difference / average;
            uint256 nextSize = size + sizeDelta;
            globalShortAveragePrices[indexToken] =
                price * nextSize / (average > price ? nextSize - delta : nextSize + delta);
        }
        globalShortSizes[indexToken] = size + sizeDelta;
    }

    function _validateTokens(address collateralToken, address indexToken, bool isLong) private view {
        if (isLong) {
            _validate(collateralToken == indexToken, 42);
            _validate(whitelistedTokens[collateralToken], 43);
            _validate(!stableTokens[collateralToken], 44);
            return;
        }
        _validate(whitelistedTokens[collateralToken], 45);
        _validate(stableTokens[collateralToken], 46);
        _validate(!stableTokens[indexToken], 47);
        _validate(shortableTokens[indexToken], 48);
    }

    function _markPrice(Target memory t) private view returns (uint256) {
        return t.isLong ? getMinPrice(t.indexToken) : getMaxPrice(t.indexToken);
    }

    function _emitDecrease(Target memory t, uint256 collateralDelta, uint256 sizeDelta, uint256 fee) private {
        uint256 price = _markPrice(t);
        emit DecreasePosition(
            t.key, t.account, t.collateralToken, t.indexToken, collateralDelta, sizeDelta, t.isLong, price, fee
        );
    }

    function _emitClose(bytes32 key, Position storage position) private {
        emit ClosePosition(
            key,
            position.size,
            position.collateral,
            position.averagePrice,
            position.entryFundingRate,
            position.reserveAmount,
            position.realisedPnl
        );
    }

    function _emitUpdate(bytes32 key, Position storage position, uint256 price) private {
        emit UpdatePosition(
            key,
            position.size,
            position.collateral,
            position.averagePrice,
            position.entryFundingRate,
            position.reserveAmount,
            position.realisedPnl,
            price
        );
    }
}
