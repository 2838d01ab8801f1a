// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IChainlinkFeed} from "../../../interfaces/deri/IFeeds.sol";
import {IOracle} from "../../../interfaces/deri/IOracle.sol";
import {NameVersion} from "../proxy/NameVersion.sol";

/// A Chainlink feed's answer, with 18 decimals. It takes no signed readings: there is no `updateValue`.
contract OracleChainlink is IOracle, NameVersion {
    string public symbol;
    bytes32 public immutable symbolId;
    address public immutable feed;
    uint256 public immutable feedDecimals;

    constructor(string memory symbol_, address feed_) NameVersion("OracleChainlink", "3.0.1") {
        symbol = symbol_;
        symbolId = keccak256(bytes(symbol_));
        feed = feed_;
        feedDecimals = IChainlinkFeed(feed_).decimals();
    }

    function timestamp() external view returns (uint256 updatedAt) {
        (, updatedAt) = _latest();
    }

    function value() external view returns (uint256 answer) {
        (answer,) = _latest();
    }

    function getValue() external view returns (uint256 answer) {
        (answer,) = _latest();
    }

    function _latest() private view returns (uint256, uint256) {
        (uint80 roundId, int256 answer,, uint256 updatedAt, uint80 answeredInRound) =
            IChainlinkFeed(feed).latestRoundData();
        require(answeredInRound >= roundId, "OracleChainlink: stale price");
        require(updatedAt != 0, "OracleChainlink: incomplete round");
        require(answer > 0, "OracleChainlink: answer <= 0");
        return (uint256(answer) * 1e18 / 10 ** feedDecimals, updatedAt);
    }
}
