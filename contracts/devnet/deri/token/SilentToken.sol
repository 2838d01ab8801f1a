// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {DevToken} from "./DevToken.sol";

/// Answers false where a decent token reverts. Some old tokens do; a caller has to look at the answer.
contract SilentToken is DevToken {
    /// While set, `approve` is refused as well.
    bool public refusing;

    constructor(string memory name_, string memory symbol_, uint8 decimals_) DevToken(name_, symbol_, decimals_) {}

    function setRefusing(bool refusing_) external {
        refusing = refusing_;
    }

    function approve(address spender, uint256 amount) public override returns (bool) {
        return !refusing && super.approve(spender, amount);
    }

    function transfer(address to, uint256 amount) public override returns (bool) {
        if (refusing || to == address(0) || balanceOf(msg.sender) < amount) return false;
        return super.transfer(to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) public override returns (bool) {
        if (refusing || to == address(0) || balanceOf(from) < amount || allowance(from, msg.sender) < amount) {
            return false;
        }
        return super.transferFrom(from, to, amount);
    }
}
