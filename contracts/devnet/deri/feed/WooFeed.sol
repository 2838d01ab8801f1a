// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IWooFeed} from "../../../interfaces/deri/IFeeds.sol";

/// A price that moves without an event. On a devnet anybody may move it.
contract WooFeed is IWooFeed {
    uint256 public _I_;

    function set(uint256 price) external {
        _I_ = price;
    }
}
