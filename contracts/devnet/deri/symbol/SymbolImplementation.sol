// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {SymbolSettlement} from "../../../interfaces/deri/ISymbol.sol";
import {IOracleManager} from "../../../interfaces/deri/IOracleManager.sol";
import {NameVersion} from "../proxy/NameVersion.sol";
import {Dpmm} from "../math/Dpmm.sol";
import {Fixed, ONE} from "../math/Fixed.sol";
import {SymbolStorage} from "./SymbolStorage.sol";

/// What all kinds of symbol share: funding, the price-shift guard, positions, and the traders' joint PnL. A kind
/// says how it is priced (`_quote`), what margin it wants and what a trade in it is charged. Answers `ISymbol`.
abstract contract SymbolImplementation is SymbolStorage, NameVersion {
    /// Parameters every kind has. Ratios in 1e18, periods in seconds, volumes in 1e18.
    struct Terms {
        int256 alpha;
        int256 fundingPeriod;
        int256 minTradeVolume;
        int256 initialMarginRatio;
        int256 maintenanceMarginRatio;
        int256 pricePercentThreshold;
        uint256 timeThreshold;
        int256 startingPriceShiftLimit;
        bool isCloseOnly;
    }

    /// Everything about a symbol that depends on prices and on the pool's liquidity, but on no account.
    struct Quote {
        int256 indexPrice;
        /// The price that the market maker trades around.
        int256 theoreticalPrice;
        /// What funding pulls the mark price to.
        int256 fundingAnchor;
        int256 k;
        int256 maintenanceMarginPerVolume;
        int256 initialMarginPerVolume;
    }

    address public immutable manager;
    IOracleManager public immutable oracleManager;
    int256 public immutable alpha;
    int256 public immutable fundingPeriod;
    int256 public immutable minTradeVolume;
    int256 public immutable initialMarginRatio;
    int256 public immutable maintenanceMarginRatio;
    int256 public immutable pricePercentThreshold;
    uint256 public immutable timeThreshold;
    int256 public immutable startingPriceShiftLimit;
    bool public immutable isCloseOnly;

    modifier onlyManager() {
        if (msg.sender != manager) revert(string.concat(_contractName(), ": only manager"));
        _;
    }

    constructor(address manager_, address oracleManager_, Terms memory terms) NameVersion(_contractName(), "3.0.1") {
        manager = manager_;
        oracleManager = IOracleManager(oracleManager_);
        alpha = terms.alpha;
        fundingPeriod = terms.fundingPeriod;
        minTradeVolume = terms.minTradeVolume;
        initialMarginRatio = terms.initialMarginRatio;
        maintenanceMarginRatio = terms.maintenanceMarginRatio;
        pricePercentThreshold = terms.pricePercentThreshold;
        timeThreshold = terms.timeThreshold;
        startingPriceShiftLimit = terms.startingPriceShiftLimit;
        isCloseOnly = terms.isCloseOnly;
    }

    // ---- what a kind answers

    function _contractName() internal pure virtual returns (string memory);

    /// The oracle that `indexPrice` is read from.
    function _priceId() internal view virtual returns (bytes32);

    function _quote(int256 liquidity) internal view virtual returns (Quote memory);

    function _maintenanceMargin(Quote memory quote, int256 volume) internal view virtual returns (int256);

    function _initialMargin(Quote memory quote, int256 volume) internal view virtual returns (int256);

    function _tradeFee(Quote memory quote, int256 tradeVolume, int256 tradeCost) internal view virtual returns (int256);

    // ---- settlements

    function settleOnLiquidity(int256 liquidity, bool lazily) external onlyManager returns (SymbolSettlement memory s) {
        if (nPositionHolders == 0 || (lazily && !_hasMoved())) return s;
        Quote memory quote = _quote(liquidity);
        s.funding = _accrueFunding(quote);
        _revalue(quote, s);
    }

    function settleOnHolding(uint256 pTokenId, int256 liquidity)
        external
        onlyManager
        returns (SymbolSettlement memory s)
    {
        Quote memory quote = _quote(liquidity);
        s.funding = _accrueFunding(quote);
        _revalue(quote, s);

        Position storage position = positions[pTokenId];
        s.traderFunding = _chargeFunding(position);
        s.traderPnl = position.volume * quote.theoreticalPrice / ONE - position.cost;
        s.traderInitialMarginRequired = _initialMargin(quote, position.volume);
    }

    /// `priceLimit` bounds the average price: from above for a purchase, from below for a sale.
    function settleOnTrade(uint256 pTokenId, int256 tradeVolume, int256 liquidity, int256 priceLimit)
        external
        onlyManager
        returns (SymbolSettlement memory s)
    {
        if (tradeVolume == 0 || tradeVolume % minTradeVolume != 0) {
            _refuse("settleOnTrade: invalid tradeVolume");
        }
        Quote memory quote = _quote(liquidity);
        s.funding = _accrueFunding(quote);
        if (!_shiftAllowed(quote, tradeVolume)) _refuse("settleOnTrade: slippage exceeds allowance");

        s.tradeVolume = tradeVolume;
        s.tradeCost = Dpmm.cost(quote.theoreticalPrice, quote.k, netVolume, tradeVolume);
        int256 averagePrice = s.tradeCost * ONE / tradeVolume;
        if (tradeVolume > 0 ? averagePrice > priceLimit : averagePrice < priceLimit) {
            _refuse("settleOnTrade: slippage exceeds limit");
        }
        s.tradeFee = _tradeFee(quote, tradeVolume, s.tradeCost);

        Position storage position = positions[pTokenId];
        s.traderFunding = _chargeFunding(position);
        _moveVolume(position, s);
        _revalue(quote, s);
        s.traderPnl = position.volume * quote.theoreticalPrice / ONE - position.cost;
        s.traderInitialMarginRequired = _initialMargin(quote, position.volume);
    }

    function settleOnLiquidate(uint256 pTokenId, int256 liquidity)
        external
        onlyManager
        returns (SymbolSettlement memory s)
    {
        Quote memory quote = _quote(liquidity);
        Position memory position = positions[pTokenId];
        if (!_shiftAllowed(quote, -position.volume)) _refuse("settleOnLiquidate: slippage exceeds allowance");
        s.funding = _accrueFunding(quote);

        unchecked {
            s.traderFunding = cumulativeFundingPerVolume - position.cumulativeFundingPerVolume;
        }
        s.traderFunding = position.volume * s.traderFunding / ONE;
        s.traderPnl = position.volume * quote.theoreticalPrice / ONE - position.cost;
        s.traderMaintenanceMarginRequired = _maintenanceMargin(quote, position.volume);

        s.tradeVolume = -position.volume;
        s.tradeCost = Dpmm.cost(quote.theoreticalPrice, quote.k, netVolume, -position.volume);
        s.tradeRealizedCost = s.tradeCost + position.cost;
        s.tradeFee = -1;

        netVolume -= position.volume;
        netCost -= position.cost;
        nPositionHolders--;
        delete positions[pTokenId];
        s.positionChangeStatus = -1;
        _revalue(quote, s);
    }

    // ---- the steps they are made of

    function _hasMoved() private view returns (bool) {
        int256 price = Fixed.toInt(oracleManager.getValue(_priceId()));
        return block.timestamp >= fundingTimestamp + timeThreshold || indexPrice == 0
            || Fixed.abs(price - indexPrice) * ONE / indexPrice >= pricePercentThreshold;
    }

    /// Adds the funding since `fundingTimestamp` to the running figure, which may wrap. Answers what all traders pay.
    function _accrueFunding(Quote memory quote) internal returns (int256 poolFunding) {
        int256 mark = Dpmm.mark(quote.theoreticalPrice, quote.k, netVolume);
        int256 elapsed = int256(block.timestamp - fundingTimestamp);
        int256 diff = (mark - quote.fundingAnchor) * elapsed / fundingPeriod;
        unchecked {
            cumulativeFundingPerVolume += diff;
        }
        fundingTimestamp = block.timestamp;
        return netVolume * diff / ONE;
    }

    function _chargeFunding(Position storage position) private returns (int256 traderFunding) {
        unchecked {
            traderFunding = cumulativeFundingPerVolume - position.cumulativeFundingPerVolume;
        }
        traderFunding = position.volume * traderFunding / ONE;
        position.cumulativeFundingPerVolume = cumulativeFundingPerVolume;
    }

    /// Within one block the net volume may be moved either way only so far that the mark price shifts by
    /// `startingPriceShiftLimit`; the move before this one counts, this one does not.
    function _shiftAllowed(Quote memory quote, int256 tradeVolume) private returns (bool) {
        if (block.number > lastNetVolumeBlock) {
            lastNetVolume = netVolume;
            lastNetVolumeBlock = block.number;
        }
        int256 allowance = startingPriceShiftLimit * ONE / quote.k;
        return (tradeVolume <= 0 && netVolume + allowance >= lastNetVolume)
            || (tradeVolume >= 0 && netVolume <= lastNetVolume + allowance);
    }

    /// Applies a trade to the position and to the symbol's sums.
    function _moveVolume(Position storage position, SymbolSettlement memory s) private {
        int256 volume = position.volume;
        int256 volumeAfter = volume + s.tradeVolume;
        bool opposite = (volume > 0 && s.tradeVolume < 0) || (volume < 0 && s.tradeVolume > 0);
        if (isCloseOnly && (!opposite || Fixed.abs(s.tradeVolume) > Fixed.abs(volume))) {
            _refuse("settleOnTrade: close only");
        }
        if (opposite) {
            int256 traded = Fixed.abs(s.tradeVolume);
            int256 held = Fixed.abs(volume);
            s.tradeRealizedCost = traded < held
                ? position.cost * traded / held + s.tradeCost
                : s.tradeCost * held / traded + position.cost;
        }

        if (volume == 0) {
            nPositionHolders++;
            s.positionChangeStatus = 1;
        } else if (volumeAfter == 0) {
            nPositionHolders--;
            s.positionChangeStatus = -1;
        }
        netVolume += s.tradeVolume;
        netCost += s.tradeCost - s.tradeRealizedCost;
        position.volume = volumeAfter;
        position.cost += s.tradeCost - s.tradeRealizedCost;
        if (volumeAfter == 0) position.cumulativeFundingPerVolume = 0;
    }

    /// Restates price, joint PnL and initial margin after `netVolume` and `netCost` are settled.
    function _revalue(Quote memory quote, SymbolSettlement memory s) internal {
        int256 pnl = -Dpmm.cost(quote.theoreticalPrice, quote.k, netVolume, -netVolume) - netCost;
        int256 margin = _initialMargin(quote, netVolume);
        s.deltaTradersPnl = pnl - tradersPnl;
        s.deltaInitialMarginRequired = margin - initialMarginRequired;
        s.indexPrice = quote.indexPrice;
        tradersPnl = pnl;
        initialMarginRequired = margin;
        indexPrice = quote.indexPrice;
    }

    function _refuse(string memory reason) private pure {
        revert(string.concat(_contractName(), ".", reason));
    }
}
