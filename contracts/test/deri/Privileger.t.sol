// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {PrivilegerImplementation} from "../../devnet/deri/privileger/PrivilegerImplementation.sol";
import {Proxy} from "../../devnet/deri/proxy/Proxy.sol";
import {DevToken} from "../../devnet/deri/token/DevToken.sol";
import {SilentToken} from "../../devnet/deri/token/SilentToken.sol";
import {Test} from "../Test.sol";

/// Who may liquidate: a stake no less than the average, and old enough.
contract PrivilegerTest is Test {
    uint256 private constant LOCK_TIME = 3 days;
    uint256 private constant MIN_DEPOSIT = 10_000e18;
    string private constant LOCKED = "PrivilegerImplementation: minLockTime not met";

    address private constant ALICE = address(0xa1);
    address private constant BOB = address(0xb0);

    event Deposit(address token, address user, uint256 amount);
    event Withdraw(address token, address user, uint256 amount);

    DevToken private _deri;
    PrivilegerImplementation private _privileger;

    function setUp() external {
        vm.warp(1_700_000_000);
        _deri = new DevToken("Deri", "DERI", 18);
        _privileger = _deploy(address(_deri));
    }

    function test_nobody_is_qualified_while_nobody_stakes() external view {
        assertTrue(!_privileger.isQualifiedLiquidator(ALICE), "no stakes");
    }

    function test_the_only_staker_is_the_average() external {
        _stake(ALICE, MIN_DEPOSIT);
        vm.warp(block.timestamp + LOCK_TIME);
        assertTrue(_privileger.isQualifiedLiquidator(ALICE), "qualified");
    }

    function test_a_locked_stake_reverts_until_its_last_second() external {
        _stake(ALICE, MIN_DEPOSIT);
        vm.warp(block.timestamp + LOCK_TIME - 1);
        expectReason(LOCKED);
        _privileger.isQualifiedLiquidator(ALICE);
        vm.warp(block.timestamp + 1);
        assertTrue(_privileger.isQualifiedLiquidator(ALICE), "qualified");
    }

    function test_below_at_and_above_the_average() external {
        _stake(ALICE, MIN_DEPOSIT + 1e18);
        _stake(BOB, MIN_DEPOSIT);
        vm.warp(block.timestamp + LOCK_TIME);
        assertTrue(_privileger.isQualifiedLiquidator(ALICE), "above");
        assertTrue(!_privileger.isQualifiedLiquidator(BOB), "below");
        vm.prank(ALICE);
        _privileger.withdraw(1e18);
        assertTrue(_privileger.isQualifiedLiquidator(BOB), "at the average, by what Alice did");
    }

    function test_another_deposit_may_disqualify() external {
        _stake(ALICE, MIN_DEPOSIT);
        vm.warp(block.timestamp + LOCK_TIME);
        _stake(BOB, MIN_DEPOSIT + 1);
        assertTrue(!_privileger.isQualifiedLiquidator(ALICE), "the average has risen");
    }

    function test_a_top_up_restarts_the_lock() external {
        _stake(ALICE, MIN_DEPOSIT);
        vm.warp(block.timestamp + LOCK_TIME);
        _stake(ALICE, MIN_DEPOSIT);
        assertEq(_privileger.stakesCount(address(_deri)), 1, "still one staker");
        expectReason(LOCKED);
        _privileger.isQualifiedLiquidator(ALICE);
    }

    function test_withdrawing_is_free_and_leaves_the_lock_alone() external {
        _stake(ALICE, 3 * MIN_DEPOSIT);
        uint256 since = block.timestamp;
        vm.expectEmit(address(_privileger));
        emit Withdraw(address(_deri), ALICE, MIN_DEPOSIT);
        vm.prank(ALICE);
        _privileger.withdraw(MIN_DEPOSIT);
        assertEq(_privileger.stakeTimestamps(address(_deri), ALICE), since, "timestamp");
        assertEq(_privileger.stakes(address(_deri), ALICE), 2 * MIN_DEPOSIT, "stake");
        assertEq(_deri.balanceOf(ALICE), MIN_DEPOSIT, "paid out");
        vm.prank(ALICE);
        _privileger.withdraw(2 * MIN_DEPOSIT);
        assertEq(_privileger.stakesCount(address(_deri)), 0, "nobody is left");
        assertEq(_privileger.stakesTotal(address(_deri)), 0, "nothing is left");
        vm.prank(ALICE);
        expectReason("PrivilegerImplementation: insufficient stake");
        _privileger.withdraw(1);
    }

    function test_a_deposit_has_a_minimum_and_is_logged() external {
        _deri.mint(ALICE, MIN_DEPOSIT);
        vm.startPrank(ALICE);
        _deri.approve(address(_privileger), MIN_DEPOSIT);
        expectReason("PrivilegerImplementation: amount < minDepositAmount");
        _privileger.deposit(MIN_DEPOSIT - 1);
        vm.expectEmit(address(_privileger));
        emit Deposit(address(_deri), ALICE, MIN_DEPOSIT);
        _privileger.deposit(MIN_DEPOSIT);
        vm.stopPrank();
    }

    function test_a_token_that_answers_false_stakes_nothing() external {
        SilentToken silent = new SilentToken("Silent", "SIL", 18);
        PrivilegerImplementation privileger = _deploy(address(silent));
        silent.mint(ALICE, MIN_DEPOSIT);
        vm.startPrank(ALICE);
        vm.expectRevert();
        privileger.deposit(MIN_DEPOSIT); // not approved: the token answers false
        silent.setRefusing(true);
        assertTrue(!silent.approve(address(privileger), MIN_DEPOSIT), "an approval may be refused, too");
        silent.setRefusing(false);
        silent.approve(address(privileger), MIN_DEPOSIT);
        privileger.deposit(MIN_DEPOSIT);
        vm.stopPrank();
        assertEq(privileger.stakes(address(silent), ALICE), MIN_DEPOSIT, "staked");
    }

    function _deploy(address token) private returns (PrivilegerImplementation) {
        Proxy proxy = new Proxy();
        proxy.setImplementation(address(new PrivilegerImplementation(token, LOCK_TIME, MIN_DEPOSIT)));
        return PrivilegerImplementation(address(proxy));
    }

    function _stake(address user, uint256 amount) private {
        _deri.mint(user, amount);
        vm.startPrank(user);
        _deri.approve(address(_privileger), amount);
        _privileger.deposit(amount);
        vm.stopPrank();
    }
}
