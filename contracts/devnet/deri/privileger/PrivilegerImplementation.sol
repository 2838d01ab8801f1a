// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IPrivileger} from "../../../interfaces/deri/IPrivileger.sol";
import {NameVersion} from "../proxy/NameVersion.sol";
import {ProxyStorage} from "../proxy/ProxyStorage.sol";

/// Who has staked no less DERI than the average, for long enough, may liquidate.
contract PrivilegerImplementation is ProxyStorage, IPrivileger, NameVersion {
    using SafeERC20 for IERC20;

    mapping(address token => mapping(address user => uint256)) public stakes;
    mapping(address token => mapping(address user => uint256)) public stakeTimestamps;
    mapping(address token => uint256) public stakesTotal;
    mapping(address token => uint256) public stakesCount;

    address public immutable deri;
    uint256 public immutable minLockTime;
    uint256 public immutable minDepositAmount;

    constructor(address deri_, uint256 minLockTime_, uint256 minDepositAmount_)
        NameVersion("PrivilegerImplementation", "3.0.1")
    {
        deri = deri_;
        minLockTime = minLockTime_;
        minDepositAmount = minDepositAmount_;
    }

    /// Every deposit, a top-up too, starts the lock anew.
    function deposit(uint256 amount) external {
        require(amount >= minDepositAmount, "PrivilegerImplementation: amount < minDepositAmount");
        IERC20(deri).safeTransferFrom(msg.sender, address(this), amount);
        if (stakes[deri][msg.sender] == 0) stakesCount[deri]++;
        stakes[deri][msg.sender] += amount;
        stakesTotal[deri] += amount;
        stakeTimestamps[deri][msg.sender] = block.timestamp;
        emit Deposit(deri, msg.sender, amount);
    }

    /// Free at any time; the lock is left as it is.
    function withdraw(uint256 amount) external {
        require(amount > 0 && amount <= stakes[deri][msg.sender], "PrivilegerImplementation: insufficient stake");
        stakes[deri][msg.sender] -= amount;
        stakesTotal[deri] -= amount;
        if (stakes[deri][msg.sender] == 0) stakesCount[deri]--;
        IERC20(deri).safeTransfer(msg.sender, amount);
        emit Withdraw(deri, msg.sender, amount);
    }

    function isQualifiedLiquidator(address user) external view returns (bool) {
        require(
            block.timestamp >= stakeTimestamps[deri][user] + minLockTime,
            "PrivilegerImplementation: minLockTime not met"
        );
        uint256 count = stakesCount[deri];
        return count > 0 && stakes[deri][user] * count >= stakesTotal[deri];
    }
}
