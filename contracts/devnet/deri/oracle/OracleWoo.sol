// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IWooFeed} from "../../../interfaces/deri/IFeeds.sol";
import {IOracle} from "../../../interfaces/deri/IOracle.sol";
import {NameVersion} from "../proxy/NameVersion.sol";

/// A Woo feed's price, with 18 decimals. It knows no timestamp, logs nothing and takes no signed readings.
contract OracleWoo is IOracle, NameVersion {
    string public symbol;
    bytes32 public immutable symbolId;
    address public immutable feed;
    uint256 public immutable baseDecimals;
    uint256 public immutable quoteDecimals;

    constructor(string memory symbol_, address feed_, uint256 baseDecimals_, uint256 quoteDecimals_)
        NameVersion("OracleWoo", "3.0.1")
    {
        symbol = symbol_;
        symbolId = keccak256(bytes(symbol_));
        feed = feed_;
        baseDecimals = baseDecimals_;
        quoteDecimals = quoteDecimals_;
    }

    function value() public view returns (uint256) {
        return IWooFeed(feed)._I_() * 10 ** baseDecimals / 10 ** quoteDecimals;
    }

    function getValue() external view returns (uint256) {
        return value();
    }
}
