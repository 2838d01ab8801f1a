// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {ISecondaryPriceFeed} from "./Interfaces.sol";

/// Prices pushed by updaters, trusted while they are fresh and close to the primary price.
contract FastPriceFeed is ISecondaryPriceFeed {
    uint256 private constant BASIS_POINTS_DIVISOR = 10_000;

    address public gov = msg.sender;
    uint256 public priceDuration = 300;
    uint256 public maxPriceUpdateDelay = 3600;
    uint256 public spreadBasisPointsIfInactive = 50;
    uint256 public spreadBasisPointsIfChainError = 500;
    uint256 public maxDeviationBasisPoints = 250;
    uint256 public lastUpdatedAt;
    bool public isSpreadEnabled;
    /// Here the feed is its own event contract.
    address public fastPriceEvents = address(this);
    mapping(address => uint256) public prices;

    event PriceUpdate(address token, uint256 price, address priceFeed);

    modifier onlyGov() {
        require(msg.sender == gov, "FastPriceFeed: forbidden");
        _;
    }

    function setDurations(uint256 priceDuration_, uint256 maxPriceUpdateDelay_) external onlyGov {
        priceDuration = priceDuration_;
        maxPriceUpdateDelay = maxPriceUpdateDelay_;
    }

    function setSpreads(uint256 ifInactive, uint256 ifChainError, uint256 maxDeviation) external onlyGov {
        spreadBasisPointsIfInactive = ifInactive;
        spreadBasisPointsIfChainError = ifChainError;
        maxDeviationBasisPoints = maxDeviation;
    }

    function setIsSpreadEnabled(bool enabled) external onlyGov {
        isSpreadEnabled = enabled;
    }

    function setPrices(address[] calldata tokens, uint256[] calldata values) external onlyGov {
        lastUpdatedAt = block.timestamp;
        for (uint256 i = 0; i < tokens.length; ++i) {
            prices[tokens[i]] = values[i];
            emit PriceUpdate(tokens[i], values[i], address(this));
        }
    }

    function favorFastPrice(address) public view virtual returns (bool) {
        return !isSpreadEnabled;
    }

    function getPrice(address token, uint256 referencePrice, bool maximise) external view returns (uint256) {
        if (block.timestamp > lastUpdatedAt + maxPriceUpdateDelay) {
            return _spread(referencePrice, spreadBasisPointsIfChainError, maximise);
        }
        if (block.timestamp > lastUpdatedAt + priceDuration) {
            return _spread(referencePrice, spreadBasisPointsIfInactive, maximise);
        }
        uint256 fast = prices[token];
        if (fast == 0) return referencePrice;
        bool above = fast > referencePrice;
        uint256 difference = above ? fast - referencePrice : referencePrice - fast;
        bool isClose = difference * BASIS_POINTS_DIVISOR / referencePrice <= maxDeviationBasisPoints;
        if (isClose && favorFastPrice(token)) return fast;
        return above == maximise ? fast : referencePrice;
    }

    function _spread(uint256 price, uint256 basisPoints, bool up) private pure returns (uint256) {
        uint256 factor = up ? BASIS_POINTS_DIVISOR + basisPoints : BASIS_POINTS_DIVISOR - basisPoints;
        return price * factor / BASIS_POINTS_DIVISOR;
    }
}
