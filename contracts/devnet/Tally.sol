// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

/// Accounts with a value each. Its event says who changed, not to what, as with most protocols.
contract Tally {
    event Changed(address indexed account);

    address[] public accounts;
    mapping(address => uint256) public values;

    function count() external view returns (uint256) {
        return accounts.length;
    }

    function add(address account, uint256 amount) public {
        if (values[account] == 0) accounts.push(account);
        values[account] += amount + 1;
        emit Changed(account);
    }

    /// Add to `many` accounts that are derived from `first`.
    function addMany(uint256 first, uint256 many, uint256 amount) external {
        for (uint256 i = 0; i < many; ++i) {
            add(address(uint160(first + i + 1)), amount);
        }
    }
}

/// The smallest market worth mirroring: a tally, and branches that open while it runs.
contract TallyMarket is Tally {
    event Opened(address branch);

    Tally[] public branches;

    function branchCount() external view returns (uint256) {
        return branches.length;
    }

    function open() external {
        branches.push(new Tally());
        emit Opened(address(branches[branches.length - 1]));
    }
}
