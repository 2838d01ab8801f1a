// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EverlastingOption} from "../../devnet/deri/math/EverlastingOption.sol";
import {SymbolImplementation} from "../../devnet/deri/symbol/SymbolImplementation.sol";
import {SymbolImplementationOption} from "../../devnet/deri/symbol/SymbolImplementationOption.sol";
import {SymbolImplementationPower} from "../../devnet/deri/symbol/SymbolImplementationPower.sol";
import {Vm} from "../Vm.sol";
import {DeriMarket} from "./DeriMarket.sol";

/// Everlasting options and power symbols, and accounts that mix them with futures.
contract SymbolsTest is DeriMarket {
    uint256 private _alice;

    function setUp() public override {
        super.setUp();
        addOracle("VOL-BTCUSD");
        setPrice("VOL-BTCUSD", 0.7e18);
        addOption("BTCUSD-20000-C", "BTCUSD", 20_000e18, true);
        addOption("BTCUSD-20000-P", "BTCUSD", 20_000e18, false);
        addPower("BTC^2", "BTCUSD");
        _alice = addMargin(ALICE, 10_000e18);
    }

    function test_the_name_of_a_symbol_tells_its_oracles() external view {
        SymbolImplementationOption call = SymbolImplementationOption(address(symbolOf["BTCUSD-20000-C"]));
        assertTrue(call.priceId() == id("BTCUSD") && call.volatilityId() == id("VOL-BTCUSD"), "an option's");
        assertTrue(call.nameId() == id("SymbolImplementationOption"), "its kind");
        SymbolImplementationPower square = SymbolImplementationPower(address(symbolOf["BTC^2"]));
        assertTrue(square.priceId() == id("BTCUSD") && square.volatilityId() == id("VOL-BTCUSD"), "a power's");
        assertEq(square.power(), 2, "the power");
    }

    function test_at_the_strike_call_and_put_are_worth_the_same() external pure {
        EverlastingOption.Value memory call = EverlastingOption.value(20_000e18, 0.7e18, 20_000e18, 3 days, true);
        EverlastingOption.Value memory put = EverlastingOption.value(20_000e18, 0.7e18, 20_000e18, 3 days, false);
        assertEq(call.timeValue, put.timeValue, "time value");
        assertEq(call.intrinsic, 0, "nothing inside");
        assertEq(call.delta, 0.5e18, "half");
        assertEq(put.delta, -0.5e18, "minus half");
    }

    function test_in_the_money_a_call_moves_with_the_price_and_out_of_it_hardly() external pure {
        EverlastingOption.Value memory inside = EverlastingOption.value(25_000e18, 0.7e18, 20_000e18, 3 days, true);
        assertEq(inside.intrinsic, 5_000e18, "intrinsic value");
        assertTrue(inside.delta > 0.9e18 && inside.delta < 1e18, "nearly one");
        EverlastingOption.Value memory outside = EverlastingOption.value(16_000e18, 0.7e18, 20_000e18, 3 days, true);
        assertEq(outside.intrinsic, 0, "no intrinsic value");
        assertTrue(outside.delta > 0 && outside.delta < 0.1e18, "nearly zero");
    }

    function test_an_option_out_of_the_money_is_charged_by_its_cost_one_in_it_by_the_notional() external {
        assertEq(_feeOf("BTCUSD-20000-P", 1e18), costOf("BTCUSD-20000-P", _alice) * 0.05e18 / 1e18, "by cost");
        setPrice("BTCUSD", 21_000e18);
        nextBlock();
        assertEq(_feeOf("BTCUSD-20000-C", 1e18), 21_000e18 * 0.0015e18 / 1e18, "by notional");
    }

    function test_a_mixed_account_is_closed_in_one_call() external {
        trade(ALICE, "BTCUSD", 1e18);
        trade(ALICE, "BTCUSD-20000-C", -1e18);
        trade(ALICE, "BTC^2", 0.00005e18);
        nextBlock();
        vm.warp(block.timestamp + 60);
        setPrice("BTCUSD", 14_000e18);
        liquidate(_alice);
        assertEq(manager.getActiveSymbols(_alice).length, 0, "closed");
        assertEq(symbolOf["BTC^2"].indexPrice(), 14_000e18, "a power symbol stores the underlying's price");
    }

    function test_an_expired_volatility_is_named() external {
        trade(ALICE, "BTCUSD-20000-C", 1e18);
        vm.warp(block.timestamp + 1 days);
        expectReason("OracleOffChain.getValue: BTCUSD expired");
        liquidate(_alice);
        setPrice("BTCUSD", 20_000e18);
        expectReason("OracleOffChain.getValue: VOL-BTCUSD expired");
        liquidate(_alice);
    }

    function test_a_worthless_option_panics() external {
        trade(ALICE, "BTCUSD-20000-C", 1e18);
        setPrice("BTCUSD", 10_000e18);
        setPrice("VOL-BTCUSD", 0.01e18);
        expectPanic(0x12);
        liquidate(_alice);
    }

    function test_a_volatility_of_zero_panics() external {
        trade(ALICE, "BTCUSD-20000-C", 1e18);
        setPrice("VOL-BTCUSD", 0);
        expectPanic(0x12);
        liquidate(_alice);
    }

    function test_the_guard_speaks_with_the_name_of_the_kind() external {
        trade(ALICE, "BTCUSD-20000-C", 1e18);
        trade(ALICE, "BTC^2", 0.00005e18);
        addMargin(BOB, 100_000e18);
        nextBlock();
        trade(BOB, "BTCUSD-20000-C", -8e18);
        expectReason("SymbolImplementationOption.settleOnLiquidate: slippage exceeds allowance");
        liquidate(_alice);

        nextBlock();
        trade(BOB, "BTC^2", -0.0003e18);
        expectReason("SymbolImplementationPower.settleOnLiquidate: slippage exceeds allowance");
        liquidate(_alice);
    }

    /// The holder of an option pays its time value in the course of a funding period.
    function test_an_options_funding_is_its_time_value() external {
        trade(ALICE, "BTCUSD-20000-C", 1e18);
        EverlastingOption.Value memory value = EverlastingOption.value(20_000e18, 0.7e18, 20_000e18, 3 days, true);
        int256 before = amountB0Of(_alice);
        vm.warp(block.timestamp + 3 days);
        refreshPrices();
        setPrice("VOL-BTCUSD", 0.7e18);
        vm.prank(ALICE);
        lite.removeMargin(1, none());
        int256 paid = before - amountB0Of(_alice) - 1;
        assertTrue(paid > value.timeValue && paid < value.timeValue * 105 / 100, "and a little for the net volume");
    }

    function _feeOf(string memory name, int256 volume) private returns (int256 fee) {
        vm.recordLogs();
        trade(ALICE, name, volume);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i = 0; i < logs.length; i++) {
            if (logs[i].emitter == address(manager)) {
                (,,, fee) = abi.decode(logs[i].data, (int256, int256, int256, int256));
            }
        }
    }
}
