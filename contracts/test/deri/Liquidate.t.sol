// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {PoolBase} from "../../devnet/deri/pool/PoolBase.sol";
import {PoolImplementationLite} from "../../devnet/deri/pool/PoolImplementationLite.sol";
import {OracleSignature} from "../../interfaces/deri/IOracleManager.sol";
import {Vm} from "../Vm.sol";
import {DeriMarket} from "./DeriMarket.sol";

/// The order of checks of `liquidate`, and what each of them says.
contract LiquidateChecksTest is DeriMarket {
    string private constant CANNOT = "PoolImplementationLite.liquidate: cannot liquidate";

    uint256 private _alice;

    function setUp() public override {
        super.setUp();
        _alice = addMargin(ALICE, 3_000e18);
        trade(ALICE, "BTCUSD", 1e18);
        nextBlock();
    }

    function test_the_callers_stake_is_looked_at_first() external {
        expectReason("PoolImplementationLite.liquidate: unqualified liquidator");
        vm.prank(BOB);
        lite.liquidate(999, none());
    }

    function test_a_locked_stake_reverts_with_the_privilegers_own_words() external {
        stake(BOB, MIN_DEPOSIT);
        expectReason("PrivilegerImplementation: minLockTime not met");
        vm.prank(BOB);
        lite.liquidate(_alice, none());
    }

    function test_without_a_privileger_anybody_may_liquidate() external {
        PoolBase.Parts memory open = parts();
        open.privileger = address(0);
        poolProxy.setImplementation(address(new PoolImplementationLite(open, rules())));
        setPrice("BTCUSD", 17_000e18);
        vm.prank(BOB);
        lite.liquidate(_alice, none());
        assertEq(tokenB0.balanceOf(BOB), 10e18, "the reward goes to the caller");
    }

    function test_a_ptoken_has_to_exist() external {
        expectReason("PoolImplementationLite.liquidate: nonexistent pTokenId");
        liquidate(_alice + 1);
    }

    function test_an_account_without_positions() external {
        uint256 bob = addMargin(BOB, 1e18);
        vm.warp(block.timestamp + 1 days);
        expectReason("PoolImplementationLite.liquidate: no position");
        liquidate(bob);
    }

    function test_a_healthy_account() external {
        expectReason(CANNOT);
        liquidate(_alice);
    }

    function test_a_second_call_finds_no_position() external {
        setPrice("BTCUSD", 17_000e18);
        liquidate(_alice);
        expectReason("PoolImplementationLite.liquidate: no position");
        liquidate(_alice);
    }

    /// At a price P a long of one wants 0.05 P and has amountB0 - cost + P.
    function test_margin_equal_to_the_requirement_is_enough() external {
        int256 threshold = (costOf("BTCUSD", _alice) - amountB0Of(_alice)) * 100 / 95;
        // On the threshold to the wei: the last digits are paid in.
        int256 price = threshold - 1e9;
        int256 missing = price * 5 / 100 - (amountB0Of(_alice) - costOf("BTCUSD", _alice) + price);
        assertTrue(missing > 0, "a little is missing");
        addMargin(ALICE, uint256(missing));
        setPrice("BTCUSD", uint256(price));
        uint256 enough = vm.snapshotState();

        expectReason(CANNOT);
        liquidate(_alice);

        // One wei of price less, where the requirement is rounded to the same wei, and it is not enough.
        vm.revertToState(enough);
        setPrice("BTCUSD", uint256(price - 1));
        liquidate(_alice);
    }

    function test_an_expired_price() external {
        vm.warp(oracleOf["BTCUSD"].timestamp() + DELAY_ALLOWANCE);
        expectReason("OracleOffChain.getValue: BTCUSD expired");
        liquidate(_alice);
    }

    function test_a_price_in_its_last_second() external {
        vm.warp(oracleOf["BTCUSD"].timestamp() + DELAY_ALLOWANCE - 1);
        expectReason(CANNOT);
        liquidate(_alice);
    }

    function test_only_the_prices_of_active_symbols_are_needed() external {
        vm.warp(block.timestamp + 1 days);
        liquidate(_alice, one(signed("BTCUSD", block.timestamp, 17_000e18)));
    }

    function test_the_first_symbol_that_fails_decides() external {
        addMargin(ALICE, 10_000e18);
        trade(ALICE, "ETHUSD", 1e18);
        vm.warp(block.timestamp + 1 days);
        expectReason("OracleOffChain.getValue: BTCUSD expired");
        liquidate(_alice);
        expectReason("OracleOffChain.getValue: ETHUSD expired");
        liquidate(_alice, one(signed("BTCUSD", block.timestamp, 17_000e18)));
    }

    function test_a_pool_without_liquidity_panics() external {
        vm.prank(address(poolProxy));
        expectPanic(0x12);
        manager.settleSymbolsOnLiquidate(_alice, 0);
    }
}

/// Signatures are applied one by one; a useless one is ignored in silence.
contract LiquidateSignaturesTest is DeriMarket {
    string private constant CANNOT = "PoolImplementationLite.liquidate: cannot liquidate";
    uint256 private constant CRASH = 17_000e18;

    uint256 private _alice;

    function setUp() public override {
        super.setUp();
        _alice = addMargin(ALICE, 3_000e18);
        trade(ALICE, "BTCUSD", 1e18);
        nextBlock();
        vm.warp(block.timestamp + 60);
    }

    function test_a_newer_reading_counts() external {
        liquidate(_alice, one(signed("BTCUSD", block.timestamp, CRASH)));
        assertEq(oracleOf["BTCUSD"].value(), CRASH, "stored");
    }

    function test_a_reading_from_the_future_counts() external {
        liquidate(_alice, one(signed("BTCUSD", block.timestamp + 1 hours, CRASH)));
    }

    function test_an_older_or_equally_old_reading_is_ignored() external {
        uint256 stored = oracleOf["BTCUSD"].timestamp();
        expectReason(CANNOT);
        liquidate(_alice, one(signed("BTCUSD", stored - 1, CRASH)));
        expectReason(CANNOT);
        liquidate(_alice, one(signed("BTCUSD", stored, CRASH)));
    }

    function test_a_reading_by_another_signer_is_ignored() external {
        expectReason(CANNOT);
        liquidate(_alice, one(signedBy(0xbad, "BTCUSD", block.timestamp, CRASH)));
    }

    function test_v_has_to_be_27_or_28() external {
        OracleSignature memory signature = signed("BTCUSD", block.timestamp, CRASH);
        signature.v -= 27;
        expectReason(CANNOT);
        liquidate(_alice, one(signature));
    }

    function test_a_changed_value_is_ignored() external {
        OracleSignature memory signature = signed("BTCUSD", block.timestamp, CRASH);
        signature.value -= 1;
        expectReason(CANNOT);
        liquidate(_alice, one(signature));
    }

    function test_a_useless_signature_does_not_hurt_a_good_one() external {
        OracleSignature[] memory signatures = new OracleSignature[](2);
        signatures[0] = signedBy(0xbad, "BTCUSD", block.timestamp, 1);
        signatures[1] = signed("BTCUSD", block.timestamp, CRASH);
        liquidate(_alice, signatures);
    }

    function test_a_reverted_call_keeps_no_signature() external {
        uint256 before = oracleOf["BTCUSD"].timestamp();
        expectReason(CANNOT);
        liquidate(_alice, one(signed("BTCUSD", block.timestamp, 19_999e18)));
        assertEq(oracleOf["BTCUSD"].timestamp(), before, "the oracle keeps what it had");
    }

    function test_a_signature_is_not_bound_to_a_chain_or_contract() external {
        OracleSignature memory o = signed("BTCUSD", block.timestamp, CRASH);
        assertTrue(oracleOf["BTCUSD"].updateValue(o.timestamp, o.value, o.v, o.r, o.s), "by anybody");
    }
}

/// What a liquidation leaves behind.
contract LiquidateEffectsTest is DeriMarket {
    uint256 private _alice;

    function setUp() public override {
        super.setUp();
        _alice = addMargin(ALICE, 4_000e18);
        trade(ALICE, "BTCUSD", 1e18);
        trade(ALICE, "ETHUSD", 5e18);
        addMargin(BOB, 20_000e18);
        trade(BOB, "BTCUSD", -2e18);
        nextBlock();
    }

    function test_the_whole_account_is_closed() external {
        setPrice("BTCUSD", 17_000e18);
        liquidate(_alice);
        assertEq(volumeOf("BTCUSD", _alice), 0, "BTCUSD position");
        assertEq(volumeOf("ETHUSD", _alice), 0, "ETHUSD position");
        assertEq(manager.getActiveSymbols(_alice).length, 0, "active symbols");
        assertEq(amountB0Of(_alice), 0, "amountB0");
        assertEq(pToken.getOwnerOf(_alice), ALICE, "the pToken stays");
        assertEq(symbolOf["BTCUSD"].netVolume(), -2e18, "net volume is Bob's");
        assertEq(symbolOf["BTCUSD"].netCost(), costOf("BTCUSD", 2), "net cost is Bob's");
        assertEq(symbolOf["BTCUSD"].nPositionHolders(), 1, "holders of BTCUSD");
        assertEq(symbolOf["ETHUSD"].nPositionHolders(), 0, "holders of ETHUSD");
        assertEq(symbolOf["ETHUSD"].tradersPnl(), 0, "nobody's PnL");
        assertEq(
            manager.initialMarginRequired(), symbolOf["BTCUSD"].initialMarginRequired(), "initial margin of the rest"
        );
    }

    function test_each_closed_symbol_is_logged_as_a_trade_with_fee_minus_one() external {
        setPrice("BTCUSD", 17_000e18);
        vm.recordLogs();
        liquidate(_alice);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        string[2] memory names = ["BTCUSD", "ETHUSD"];
        int256[2] memory volumes = [int256(-1e18), -5e18];
        uint256 found;
        for (uint256 i = 0; i < logs.length; i++) {
            if (logs[i].emitter != address(manager)) continue;
            assertTrue(logs[i].topics[0] == Trade.selector, "only trades");
            assertEq(uint256(logs[i].topics[1]), _alice, "pTokenId");
            assertTrue(logs[i].topics[2] == id(names[found]), "in the order of active symbols");
            (int256 indexPrice, int256 volume,, int256 fee) = abi.decode(logs[i].data, (int256, int256, int256, int256));
            assertEq(indexPrice, int256(oracleOf[names[found]].value()), "index price");
            assertEq(volume, volumes[found], "the whole position");
            assertEq(fee, -1, "fee");
            found++;
        }
        assertEq(found, 2, "one for each symbol");
    }

    function test_the_minimum_is_paid_for_a_bankrupt_account() external {
        setPrice("BTCUSD", 10_000e18);
        int256 equity = lite.liquidity() + lite.lpsPnl();
        liquidate(_alice);
        assertEq(tokenB0.balanceOf(LIQUIDATOR), 10e18, "the minimum");
        assertTrue(lite.liquidity() + lite.lpsPnl() < equity + 10_000e18, "the pool carries the rest");
    }

    function test_half_of_what_is_left_above_the_minimum() external {
        setPrice("BTCUSD", 17_000e18);
        vm.recordLogs();
        int256 had = amountB0Of(_alice);
        int256 cost = costOf("BTCUSD", _alice) + costOf("ETHUSD", _alice);
        liquidate(_alice);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        int256 closing;
        for (uint256 i = 0; i < logs.length; i++) {
            if (logs[i].emitter != address(manager)) continue;
            (,, int256 tradeCost,) = abi.decode(logs[i].data, (int256, int256, int256, int256));
            closing += tradeCost;
        }
        // No time has passed, so there is no funding.
        int256 available = had - (cost + closing);
        assertTrue(available > 10e18 && available < 1990e18, "between the bounds");
        assertEq(tokenB0.balanceOf(LIQUIDATOR), uint256((available - 10e18) / 2 + 10e18), "half");
    }

    function test_never_more_than_the_maximum() external {
        address whale = address(0xfa);
        uint256 id_ = addMargin(whale, 60_000e18);
        trade(whale, "ETHUSD", 450e18);
        nextBlock();
        setPrice("ETHUSD", 916e18);
        liquidate(id_);
        assertEq(tokenB0.balanceOf(LIQUIDATOR), 1000e18, "the maximum");
    }

    function test_money_is_conserved() external {
        vm.warp(block.timestamp + 300);
        setPrice("BTCUSD", 17_000e18);
        liquidate(_alice);
        nextBlock();
        vm.warp(block.timestamp + 200);
        trade(BOB, "BTCUSD", 2e18);
        // Nobody holds anything: every token belongs to a trader, a provider or the protocol.
        (, int256 provided,,) = lite.lpInfos(1);
        int256 owed = amountB0Of(1) + amountB0Of(2) + provided + lite.lpsPnl() + lite.protocolFeeAccrued();
        int256 held = int256(tokenB0.balanceOf(address(lite)));
        assertTrue(held - owed < 100 && owed - held < 100, "to a few wei of rounding");
    }

    function test_the_loss_or_gain_goes_to_the_providers() external {
        setPrice("BTCUSD", 17_000e18);
        int256 lpsPnl = lite.lpsPnl();
        int256 cumulative = lite.cumulativePnlPerLiquidity();
        liquidate(_alice);
        int256 gain = lite.lpsPnl() - lpsPnl;
        assertTrue(gain != 0, "something changed");
        assertEq(lite.cumulativePnlPerLiquidity() - cumulative, gain * 1e18 / lite.liquidity(), "per unit of liquidity");
    }

    function test_funding_alone_makes_an_account_liquidatable() external {
        // Many longs make the mark price stand above the index; the longs pay.
        address whale = address(0xfa);
        addMargin(whale, 100_000e18);
        trade(whale, "BTCUSD", 4e18);
        setPrice("BTCUSD", 17_200e18);
        nextBlock();
        expectReason("PoolImplementationLite.liquidate: cannot liquidate");
        liquidate(_alice);
        vm.warp(block.timestamp + 10 days);
        setPrice("BTCUSD", 17_200e18);
        setPrice("ETHUSD", 1_000e18);
        liquidate(_alice);
    }
}

/// Why several liquidations may not fit in one block.
contract PriceShiftGuardTest is DeriMarket {
    string private constant EXCEEDS = "SymbolImplementationFutures.settleOnLiquidate: slippage exceeds allowance";

    /// allowance = 0.01 / K, K = 17,000 * 0.1 / L: about 5.9 BTC with a pool of a million.
    uint256[] private _longs;
    uint256 private _short;

    function setUp() public override {
        super.setUp();
        for (uint160 i = 0; i < 3; i++) {
            address trader = address(0x1000 + i);
            _longs.push(addMargin(trader, 10_000e18));
            trade(trader, "BTCUSD", 4e18);
            nextBlock();
        }
        _short = addMargin(BOB, 100_000e18);
        trade(BOB, "BTCUSD", -1e18);
        nextBlock();
        setPrice("BTCUSD", 17_000e18);
    }

    function test_closings_in_one_direction_stop_once_the_net_volume_has_moved_too_far() external {
        liquidate(_longs[0]);
        liquidate(_longs[1]);
        expectReason(EXCEEDS);
        liquidate(_longs[2]);
        nextBlock();
        liquidate(_longs[2]);
    }

    function test_the_first_of_a_block_always_passes() external {
        addMargin(address(0x1000), 50_000e18);
        trade(address(0x1000), "BTCUSD", 16e18);
        setPrice("BTCUSD", 14_000e18);
        nextBlock();
        assertTrue(volumeOf("BTCUSD", _longs[0]) > 10e18, "more than the allowance");
        liquidate(_longs[0]);
    }

    function test_a_trade_earlier_in_the_block_counts_too() external {
        int256 before = symbolOf["BTCUSD"].netVolume();
        trade(BOB, "BTCUSD", -7e18);
        assertEq(symbolOf["BTCUSD"].lastNetVolume(), before, "remembered");
        assertEq(symbolOf["BTCUSD"].lastNetVolumeBlock(), block.number, "in this block");
        expectReason(EXCEEDS);
        liquidate(_longs[0]);
    }

    function test_the_other_direction_is_not_stopped() external {
        liquidate(_longs[0]);
        liquidate(_longs[1]);
        trade(BOB, "BTCUSD", 1e18);
    }
}
