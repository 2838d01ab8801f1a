// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {IAggregator} from "./Interfaces.sol";

/// A primary price source with rounds, in the shape of Chainlink's. Anybody may answer: it is for local chains.
contract Aggregator is IAggregator {
    uint80 public latestRound;
    mapping(uint80 => int256) private _answers;

    event AnswerUpdated(int256 indexed current, uint256 indexed roundId, uint256 updatedAt);

    function answer(int256 value) external {
        latestRound += 1;
        _answers[latestRound] = value;
        emit AnswerUpdated(value, latestRound, block.timestamp);
    }

    function latestAnswer() external view returns (int256) {
        return _answers[latestRound];
    }

    function getRoundData(uint80 roundId) external view returns (uint80, int256, uint256, uint256, uint80) {
        return (roundId, _answers[roundId], 0, 0, roundId);
    }
}
