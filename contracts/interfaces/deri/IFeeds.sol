// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// A Chainlink aggregator, or the proxy before it.
interface IChainlinkFeed {
    function decimals() external view returns (uint8);

    function latestRoundData()
        external
        view
        returns (uint80 roundId, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound);
}

interface IWooFeed {
    /// Quote tokens for one base token, times 10^(18 - base decimals + quote decimals).
    function _I_() external view returns (uint256);
}
