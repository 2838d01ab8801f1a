// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ProxyStorage} from "../proxy/ProxyStorage.sol";

abstract contract SymbolStorage is ProxyStorage {
    struct Position {
        int256 volume;
        int256 cost;
        int256 cumulativeFundingPerVolume;
    }

    string public symbol;
    bytes32 public symbolId;

    int256 public netVolume;
    int256 public netCost;
    int256 public indexPrice;
    uint256 public fundingTimestamp;
    int256 public cumulativeFundingPerVolume;
    int256 public tradersPnl;
    int256 public initialMarginRequired;
    uint256 public nPositionHolders;

    /// The net volume before the first trade of block `lastNetVolumeBlock`.
    int256 public lastNetVolume;
    uint256 public lastNetVolumeBlock;

    mapping(uint256 pTokenId => Position) public positions;
}
