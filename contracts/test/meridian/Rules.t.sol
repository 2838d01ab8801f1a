// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Aggregator} from "../../devnet/meridian/Aggregator.sol";
import {FastPriceFeed} from "../../devnet/meridian/FastPriceFeed.sol";
import {IVault} from "../../devnet/meridian/Interfaces.sol";
import {PositionManager} from "../../devnet/meridian/PositionManager.sol";
import {Timelock} from "../../devnet/meridian/Timelock.sol";
import {Token} from "../../devnet/meridian/Token.sol";
import {VaultPriceFeed} from "../../devnet/meridian/VaultPriceFeed.sol";
import {VaultSeeding} from "../../devnet/meridian/VaultSeeding.sol";
import {VaultUtils} from "../../devnet/meridian/VaultUtils.sol";
import {Test} from "../Test.sol";

/// The rules of opening, reducing and liquidating, one by one, on round figures: BTC at 60,000, a dollar at one.
contract RulesTest is Test {
    address private constant ALICE = address(0xA11CE);
    address private constant KEEPER = address(0xCEE9E4);
    address private constant STRANGER = address(0x57A46E);
    address private constant RECEIVER = address(0xFEE);
    uint256 private constant USD = 1e30;

    VaultSeeding private vault = new VaultSeeding();
    VaultPriceFeed private feed = new VaultPriceFeed();
    FastPriceFeed private fast = new FastPriceFeed();
    PositionManager private manager = new PositionManager(IVault(address(vault)));
    Timelock private timelock = new Timelock(10, 500);
    Token private btc = new Token("BTC", 8);
    Token private usdc = new Token("USDC", 6);
    Aggregator private btcSource = new Aggregator();
    Aggregator private usdcSource = new Aggregator();

    function setUp() public {
        vm.warp(1_750_000_000);
        vault.setVaultUtils(address(new VaultUtils(IVault(address(vault)))));
        vault.setPriceFeed(address(feed));
        vault.setMaxLeverage(1_000_000);
        vault.setFees(10, 5 * USD, 0);
        vault.setFundingRate(1 hours, 100, 100);
        vault.setError(34, "Vault: invalid liquidator");
        vault.setError(35, "Vault: empty position");
        vault.setError(36, "Vault: position cannot be liquidated");
        vault.setError(49, "Vault: invalid increase");
        _list(btc, 8, false, btcSource);
        _list(usdc, 6, true, usdcSource);
        feed.setPriceSampleSpace(1);
        btcSource.answer(60_000e8);
        usdcSource.answer(1e8);
        btc.mint(address(vault), 100e8);
        vault.directPoolDeposit(address(btc));
        usdc.mint(address(vault), 1_000_000e6);
        vault.directPoolDeposit(address(usdc));
    }

    function test_a_long_is_liquidated_when_fees_and_loss_leave_less_than_the_liquidation_fee() public {
        _openLong(10_000, 0.01e8); // 600 dollars, less 10 of fees
        btcSource.answer(57_100e8); // 106.67 left: above one percent of the size
        expectReason("Vault: position cannot be liquidated");
        _liquidate(true);
        btcSource.answer(56_500e8); // a loss of 583.33
        _liquidate(true);
        assertEq(btc.balanceOf(RECEIVER), uint256(5e8) / 56_500, "five dollars of BTC at its max price");
        (uint256 size,,,,,,) = vault.positions(_key(true));
        assertEq(size, 0, "the position is gone");
    }

    function test_above_the_leverage_limit_the_trader_gets_the_rest_and_nobody_is_paid() public {
        _openLong(10_000, 0.01e8);
        btcSource.answer(57_050e8); // 491.67 lost, 98.33 left: less than 1%, more than fees
        _liquidate(true);
        assertEq(btc.balanceOf(RECEIVER), 0, "no reward");
        assertTrue(btc.balanceOf(ALICE) > 0, "the trader is paid");
    }

    function test_a_partial_close_settles_its_share_and_keeps_the_average_price() public {
        _openLong(10_000, 0.02e8);
        btcSource.answer(59_000e8);
        vm.prank(ALICE);
        vault.decreasePosition(ALICE, address(btc), address(btc), 0, 4_000 * USD, true, ALICE);
        (uint256 size, uint256 collateral, uint256 average,,, int256 pnl,) = vault.positions(_key(true));
        assertEq(size, 6_000 * USD, "size");
        assertEq(average, 60_000 * USD, "average price");
        uint256 loss = uint256(4_000 * USD) * (uint256(10_000 * USD) * 1_000 / 60_000) / (10_000 * USD);
        assertEq(collateral, 1_190 * USD - loss - 4 * USD, "collateral less its share of the loss and the fee");
        assertEq(pnl, -int256(loss), "realised");
    }

    function test_a_deposit_without_size_sets_the_time_and_the_funding_rate_anew() public {
        _openLong(10_000, 0.01e8);
        vm.warp(block.timestamp + 2 hours);
        btc.mint(address(vault), 0.01e8);
        vm.prank(ALICE);
        vault.increasePosition(ALICE, address(btc), address(btc), 0, true);
        (, uint256 collateral,, uint256 entry,,, uint256 time) = vault.positions(_key(true));
        assertEq(time, block.timestamp, "last increased");
        assertEq(entry, vault.cumulativeFundingRates(address(btc)), "entry rate");
        assertTrue(collateral > 1_180 * USD, "collateral");
    }

    function test_the_first_funding_update_only_starts_the_clock() public {
        vault.updateCumulativeFundingRate(address(btc), address(btc));
        assertEq(vault.lastFundingTimes(address(btc)), block.timestamp / 1 hours * 1 hours, "clock");
        assertEq(vault.cumulativeFundingRates(address(btc)), 0, "rate");
    }

    function test_private_mode_asks_the_vaults_list_before_anything_else() public {
        vault.setInPrivateLiquidationMode(true);
        expectReason("Vault: invalid liquidator");
        _liquidate(true);
        vault.setLiquidator(STRANGER, true);
        expectReason("Vault: empty position");
        _liquidate(true);
    }

    function test_a_vault_without_a_table_of_errors_reverts_with_an_empty_reason() public {
        vault.setError(35, "");
        expectReason("");
        _liquidate(true);
    }

    function test_the_managers_route_lowers_the_margin_fee_for_the_call() public {
        _openLong(10_000, 0.02e8);
        vault.setFees(500, 5 * USD, 0);
        vault.setGov(address(timelock));
        timelock.setHandler(address(manager), true);
        (uint256 state,) = vault.validateLiquidation(ALICE, address(btc), address(btc), true, false);
        assertEq(state, 0, "500 of 1190");
        btcSource.answer(55_500e8); // 750 lost, 440 left: below the stored fee, above the one inside the call
        (state,) = vault.validateLiquidation(ALICE, address(btc), address(btc), true, false);
        assertEq(state, 1, "the plain view");
        expectReason("PositionManager: forbidden");
        _manage();
        manager.setLiquidator(KEEPER, true);
        expectReason("Vault: position cannot be liquidated");
        _manage();
        btcSource.answer(52_900e8);
        _manage();
        assertEq(vault.marginFeeBasisPoints(), 500, "the maximum holds again");
        assertTrue(btc.balanceOf(RECEIVER) > 0, "paid");
    }

    function test_a_manager_that_is_no_handler_is_refused_by_the_timelock() public {
        vault.setGov(address(timelock));
        manager.setLiquidator(KEEPER, true);
        expectReason("Timelock: forbidden");
        _manage();
    }

    function test_a_short_against_a_stable_that_lost_its_peg_cannot_be_closed() public {
        feed.setTokenConfig(address(usdc), address(usdcSource), 8, false);
        usdc.mint(address(vault), 600e6);
        vm.prank(ALICE);
        vault.increasePosition(ALICE, address(usdc), address(btc), 10_000 * USD, false);
        btcSource.answer(63_600e8);
        usdcSource.answer(0.1e8); // what is left of the collateral now counts for ten times the tokens
        vm.prank(STRANGER);
        expectReason("Vault: invalid increase");
        vault.liquidatePosition(ALICE, address(usdc), address(btc), false, RECEIVER);
    }

    function test_a_fast_price_goes_stale_without_an_event() public {
        feed.setSecondaryPriceFeed(address(fast));
        address[] memory tokens = new address[](1);
        uint256[] memory prices = new uint256[](1);
        (tokens[0], prices[0]) = (address(btc), 60_100 * USD);
        fast.setPrices(tokens, prices);
        assertEq(vault.getMinPrice(address(btc)), 60_100 * USD, "fresh");
        vm.warp(block.timestamp + 301);
        assertEq(vault.getMinPrice(address(btc)), 59_700 * USD, "inactive: half a percent below the primary");
        vm.warp(block.timestamp + 3_300);
        assertEq(vault.getMinPrice(address(btc)), 57_000 * USD, "silent: five percent");
    }

    function test_a_strict_stable_is_one_dollar_unless_it_strays_to_the_unfavourable_side() public {
        feed.setMaxStrictPriceDeviation(1e28);
        usdcSource.answer(1.005e8);
        assertEq(vault.getMaxPrice(address(usdc)), USD, "within the deviation");
        usdcSource.answer(1.02e8);
        assertEq(vault.getMaxPrice(address(usdc)), 1.02e30, "above");
        assertEq(vault.getMinPrice(address(usdc)), USD, "the favourable side");
    }

    function test_a_seeded_position_can_be_liquidated_like_an_opened_one() public {
        VaultSeeding.Seed[] memory seeds = new VaultSeeding.Seed[](1);
        seeds[0] = VaultSeeding.Seed(ALICE, address(btc), address(btc), true, 10_000 * USD, 590 * USD, 60_000 * USD);
        vault.seed(seeds);
        btcSource.answer(56_500e8);
        _liquidate(true);
        assertEq(vault.reservedAmounts(address(btc)), 0, "nothing stays reserved");
        assertEq(vault.guaranteedUsd(address(btc)), 0, "nothing stays guaranteed");
    }

    function _list(Token token, uint256 decimals, bool stable, Aggregator source) private {
        vault.setTokenConfig(address(token), decimals, 0, stable, !stable);
        feed.setTokenConfig(address(token), address(source), 8, stable);
    }

    function _openLong(uint256 sizeUsd, uint256 collateral) private {
        btc.mint(address(vault), collateral);
        vm.prank(ALICE);
        vault.increasePosition(ALICE, address(btc), address(btc), sizeUsd * USD, true);
    }

    function _key(bool isLong) private view returns (bytes32) {
        return vault.getPositionKey(ALICE, address(btc), address(btc), isLong);
    }

    function _liquidate(bool isLong) private {
        vm.prank(STRANGER);
        vault.liquidatePosition(ALICE, address(btc), address(btc), isLong, RECEIVER);
    }

    function _manage() private {
        vm.prank(KEEPER);
        manager.liquidatePosition(ALICE, address(btc), address(btc), true, RECEIVER);
    }
}
