// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IChainlinkFeed} from "../../../interfaces/deri/IFeeds.sol";

/// What writes the answers and logs them. On a devnet anybody may.
contract ChainlinkAggregator is IChainlinkFeed {
    event AnswerUpdated(int256 indexed current, uint256 indexed roundId, uint256 updatedAt);

    struct Round {
        uint80 roundId;
        int256 answer;
        uint256 updatedAt;
        uint80 answeredInRound;
    }

    uint8 public immutable decimals;
    Round private _latest;

    constructor(uint8 decimals_) {
        decimals = decimals_;
    }

    function transmit(int256 answer) external {
        uint80 roundId = _latest.roundId + 1;
        _latest = Round(roundId, answer, block.timestamp, roundId);
        emit AnswerUpdated(answer, roundId, block.timestamp);
    }

    /// A round as only a broken feed reports it: stale, unfinished or without sense.
    function setRound(uint80 roundId, int256 answer, uint256 updatedAt, uint80 answeredInRound) external {
        _latest = Round(roundId, answer, updatedAt, answeredInRound);
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        return (_latest.roundId, _latest.answer, _latest.updatedAt, _latest.updatedAt, _latest.answeredInRound);
    }
}

/// The address that stays while aggregators change. It logs nothing.
contract ChainlinkFeed is IChainlinkFeed {
    address public aggregator;

    constructor(address aggregator_) {
        aggregator = aggregator_;
    }

    function setAggregator(address aggregator_) external {
        aggregator = aggregator_;
    }

    function decimals() external view returns (uint8) {
        return IChainlinkFeed(aggregator).decimals();
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        return IChainlinkFeed(aggregator).latestRoundData();
    }
}
