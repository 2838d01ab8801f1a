// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {IAggregator, ISecondaryPriceFeed, IVaultPriceFeed} from "./Interfaces.sol";

/// Prices with 30 decimals, made of a primary source's last rounds, an AMM's price if asked for, a fast price, and
/// spreads.
contract VaultPriceFeed is IVaultPriceFeed {
    struct TokenFeed {
        address source;
        uint256 priceDecimals;
        bool isStrictStable;
    }

    uint256 private constant BASIS_POINTS_DIVISOR = 10_000;
    uint256 private constant ONE_USD = 1e30;

    address public gov = msg.sender;
    bool public isAmmEnabled;
    bool public isSecondaryPriceEnabled = true;
    uint256 public priceSampleSpace = 3;
    uint256 public maxStrictPriceDeviation;
    address public secondaryPriceFeed;

    mapping(address => address) public priceFeeds;
    mapping(address => uint256) public priceDecimals;
    mapping(address => bool) public strictStableTokens;
    mapping(address => uint256) public spreadBasisPoints;
    mapping(address => uint256) public adjustmentBasisPoints;
    mapping(address => bool) public isAdjustmentAdditive;
    /// What an AMM would say; set by hand here.
    mapping(address => uint256) public ammPrices;

    modifier onlyGov() {
        require(msg.sender == gov, "VaultPriceFeed: forbidden");
        _;
    }

    function setTokenConfig(address token, address source, uint256 decimals, bool isStrictStable) external onlyGov {
        priceFeeds[token] = source;
        priceDecimals[token] = decimals;
        strictStableTokens[token] = isStrictStable;
    }

    function setSpreadBasisPoints(address token, uint256 basisPoints) external onlyGov {
        spreadBasisPoints[token] = basisPoints;
    }

    function setAdjustment(address token, bool isAdditive, uint256 basisPoints) external onlyGov {
        isAdjustmentAdditive[token] = isAdditive;
        adjustmentBasisPoints[token] = basisPoints;
    }

    function setAmmPrice(address token, uint256 price) external onlyGov {
        ammPrices[token] = price;
    }

    function setIsAmmEnabled(bool enabled) external onlyGov {
        isAmmEnabled = enabled;
    }

    function setIsSecondaryPriceEnabled(bool enabled) external onlyGov {
        isSecondaryPriceEnabled = enabled;
    }

    function setSecondaryPriceFeed(address feed) external onlyGov {
        secondaryPriceFeed = feed;
    }

    function setPriceSampleSpace(uint256 rounds) external onlyGov {
        require(rounds > 0, "VaultPriceFeed: invalid _priceSampleSpace");
        priceSampleSpace = rounds;
    }

    function setMaxStrictPriceDeviation(uint256 deviation) external onlyGov {
        maxStrictPriceDeviation = deviation;
    }

    function getPrice(address token, bool maximise, bool includeAmmPrice, bool) external view returns (uint256) {
        uint256 price = getPrimaryPrice(token, maximise);
        if (includeAmmPrice && isAmmEnabled && ammPrices[token] > 0) {
            price = maximise ? _max(price, ammPrices[token]) : _min(price, ammPrices[token]);
        }
        if (isSecondaryPriceEnabled && secondaryPriceFeed != address(0)) {
            price = ISecondaryPriceFeed(secondaryPriceFeed).getPrice(token, price, maximise);
        }
        if (strictStableTokens[token]) {
            price = _strict(price, maximise);
        } else {
            price = _spread(price, spreadBasisPoints[token], maximise);
        }
        uint256 adjustment = adjustmentBasisPoints[token];
        return adjustment == 0 ? price : _spread(price, adjustment, isAdjustmentAdditive[token]);
    }

    /// The least or greatest of the last rounds, scaled to 30 decimals.
    function getPrimaryPrice(address token, bool maximise) public view returns (uint256) {
        address source = priceFeeds[token];
        require(source != address(0), "VaultPriceFeed: invalid price feed");
        uint80 round = IAggregator(source).latestRound();
        uint256 price;
        for (uint80 i = 0; i < priceSampleSpace && i < round; ++i) {
            int256 sample = IAggregator(source).latestAnswer();
            if (i > 0) (, sample,,,) = IAggregator(source).getRoundData(round - i);
            require(sample > 0, "VaultPriceFeed: invalid price");
            if (i == 0) price = uint256(sample);
            else price = maximise ? _max(price, uint256(sample)) : _min(price, uint256(sample));
        }
        require(price > 0, "VaultPriceFeed: could not fetch price");
        return price * ONE_USD / 10 ** priceDecimals[token];
    }

    function _strict(uint256 price, bool maximise) private view returns (uint256) {
        uint256 deviation = price > ONE_USD ? price - ONE_USD : ONE_USD - price;
        if (deviation <= maxStrictPriceDeviation) return ONE_USD;
        return maximise ? _max(price, ONE_USD) : _min(price, ONE_USD);
    }

    function _spread(uint256 price, uint256 basisPoints, bool up) private pure returns (uint256) {
        uint256 factor = up ? BASIS_POINTS_DIVISOR + basisPoints : BASIS_POINTS_DIVISOR - basisPoints;
        return price * factor / BASIS_POINTS_DIVISOR;
    }

    function _max(uint256 a, uint256 b) private pure returns (uint256) {
        return a > b ? a : b;
    }

    function _min(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }
}
