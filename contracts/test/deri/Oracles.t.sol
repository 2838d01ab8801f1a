// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ChainlinkAggregator, ChainlinkFeed} from "../../devnet/deri/feed/ChainlinkFeed.sol";
import {WooFeed} from "../../devnet/deri/feed/WooFeed.sol";
import {OracleChainlink} from "../../devnet/deri/oracle/OracleChainlink.sol";
import {OracleWoo} from "../../devnet/deri/oracle/OracleWoo.sol";
import {OracleSignature} from "../../interfaces/deri/IOracleManager.sol";
import {DeriMarket} from "./DeriMarket.sol";

contract OraclesTest is DeriMarket {
    event AnswerUpdated(int256 indexed current, uint256 indexed roundId, uint256 updatedAt);
    event NewOracle(bytes32 indexed symbolId, address indexed oracle);
    event NewValue(uint256 indexed timestamp, uint256 indexed value);

    ChainlinkAggregator private _aggregator;
    ChainlinkFeed private _feed;

    function setUp() public override {
        super.setUp();
        _aggregator = new ChainlinkAggregator(8);
        _aggregator.transmit(17_000e8);
        _feed = new ChainlinkFeed(address(_aggregator));
    }

    function test_a_signed_reading_is_logged() external {
        OracleSignature memory o = signed("BTCUSD", block.timestamp + 9, 1e18);
        vm.expectEmit(address(oracleOf["BTCUSD"]));
        emit NewValue(block.timestamp + 9, 1e18);
        oracleManager.updateValue(o.oracleSymbolId, o.timestamp, o.value, o.v, o.r, o.s);
        assertEq(oracleManager.value(id("BTCUSD")), 1e18, "value");
    }

    function test_an_expired_reading_still_has_a_raw_value() external {
        vm.warp(block.timestamp + 1 days);
        assertEq(oracleManager.value(id("BTCUSD")), 20_000e18, "raw");
        expectReason("OracleOffChain.getValue: BTCUSD expired");
        oracleManager.getValue(id("BTCUSD"));
    }

    function test_a_symbol_may_be_priced_by_chainlink() external {
        uint256 alice = addMargin(ALICE, 3_000e18);
        trade(ALICE, "BTCUSD", 1e18);
        nextBlock();
        OracleChainlink oracle = new OracleChainlink("BTCUSD", address(_feed));
        vm.expectEmit(address(oracleManager));
        emit NewOracle(id("BTCUSD"), address(oracle));
        oracleManager.setOracle(address(oracle));
        assertEq(oracleManager.getValue(id("BTCUSD")), 17_000e18, "scaled to 18 decimals");

        // Such an oracle takes no signatures: with one the call reverts, without it goes through.
        OracleSignature[] memory signatures = one(signed("BTCUSD", block.timestamp + 1, 17_000e18));
        vm.prank(LIQUIDATOR);
        vm.expectRevert();
        lite.liquidate(alice, signatures);
        liquidate(alice);
    }

    function test_price_events_come_from_the_current_aggregator() external {
        vm.expectEmit(address(_aggregator));
        emit AnswerUpdated(18_000e8, 2, block.timestamp);
        _aggregator.transmit(18_000e8);

        ChainlinkAggregator other = new ChainlinkAggregator(8);
        other.transmit(19_000e8);
        _feed.setAggregator(address(other));
        assertEq(_feed.aggregator(), address(other), "aggregator");
        assertEq(new OracleChainlink("BTCUSD", address(_feed)).getValue(), 19_000e18, "the other's answer");
    }

    function test_a_chainlink_answer_has_to_make_sense() external {
        OracleChainlink oracle = new OracleChainlink("BTCUSD", address(_feed));
        _aggregator.setRound(5, 1e8, block.timestamp, 4);
        expectReason("OracleChainlink: stale price");
        oracle.getValue();
        _aggregator.setRound(5, 1e8, 0, 5);
        expectReason("OracleChainlink: incomplete round");
        oracle.getValue();
        _aggregator.setRound(5, 0, block.timestamp, 5);
        expectReason("OracleChainlink: answer <= 0");
        oracle.getValue();
    }

    function test_a_woo_price_is_rescaled_by_both_tokens_decimals() external {
        WooFeed feed = new WooFeed();
        feed.set(20_000e18 * 1e10);
        OracleWoo oracle = new OracleWoo("BTCUSD", address(feed), 8, 18);
        assertEq(oracle.value(), 20_000e18, "8 base decimals, 18 quote decimals");
        assertEq(oracle.getValue(), 20_000e18, "never expires");
    }

    function test_an_unknown_symbol_has_no_oracle() external {
        assertEq(oracleManager.getOracle(id("XYZ")), address(0), "none");
        expectReason("OracleManager: oracle does not exist");
        oracleManager.getValue(id("XYZ"));
    }
}
