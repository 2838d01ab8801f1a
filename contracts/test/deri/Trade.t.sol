// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Dpmm} from "../../devnet/deri/math/Dpmm.sol";
import {SymbolImplementation} from "../../devnet/deri/symbol/SymbolImplementation.sol";
import {SymbolImplementationFutures} from "../../devnet/deri/symbol/SymbolImplementationFutures.sol";
import {Proxy} from "../../devnet/deri/proxy/Proxy.sol";
import {DeriMarket} from "./DeriMarket.sol";

contract TradeTest is DeriMarket {
    uint256 private _alice;

    function setUp() public override {
        super.setUp();
        _alice = addMargin(ALICE, 10_000e18);
    }

    function test_a_trade_costs_the_price_along_the_curve_and_a_fee() external {
        int256 k = 20_000e18 * 0.1e18 / (lite.liquidity() + lite.lpsPnl());
        int256 cost = Dpmm.cost(20_000e18, k, 0, 1e18);
        int256 fee = cost * 0.0005e18 / 1e18;
        vm.expectEmit(address(manager));
        emit Trade(_alice, id("BTCUSD"), 20_000e18, 1e18, cost, fee);
        trade(ALICE, "BTCUSD", 1e18);
        assertEq(costOf("BTCUSD", _alice), cost, "cost");
        assertEq(amountB0Of(_alice), 10_000e18 - fee, "the fee is paid at once");
        assertEq(lite.protocolFeeAccrued(), fee / 5, "a fifth is the protocol's");
        assertEq(symbolOf["BTCUSD"].netVolume(), 1e18, "net volume");
        assertEq(symbolOf["BTCUSD"].netCost(), cost, "net cost");
        assertEq(manager.initialMarginRequired(), 2_000e18, "initial margin");
    }

    function test_a_reducing_trade_realises_its_part_of_the_cost() external {
        trade(ALICE, "BTCUSD", 0.4e18);
        nextBlock();
        int256 cost = costOf("BTCUSD", _alice);
        trade(ALICE, "BTCUSD", -0.1e18);
        assertEq(costOf("BTCUSD", _alice), cost - cost / 4, "three quarters of the cost stay");
        assertEq(volumeOf("BTCUSD", _alice), 0.3e18, "volume");
        assertEq(symbolOf["BTCUSD"].nPositionHolders(), 1, "still a holder");
    }

    function test_active_symbols_are_in_the_order_of_opening_and_the_last_fills_a_gap() external {
        addOracle("BNBUSD");
        addFutures("BNBUSD");
        setPrice("BNBUSD", 300e18);
        trade(ALICE, "ETHUSD", 1e18);
        trade(ALICE, "BTCUSD", 0.1e18);
        trade(ALICE, "BNBUSD", 1e18);
        _expectActive("ETHUSD", "BTCUSD", "BNBUSD");
        nextBlock();

        trade(ALICE, "BTCUSD", -0.3e18);
        _expectActive("ETHUSD", "BTCUSD", "BNBUSD"); // crossing zero keeps the place

        trade(ALICE, "ETHUSD", -1e18);
        address[] memory active = manager.getActiveSymbols(_alice);
        assertEq(active.length, 2, "one less");
        assertEq(active[0], address(symbolOf["BNBUSD"]), "the last one has taken the place");
        assertEq(active[1], address(symbolOf["BTCUSD"]), "the other stayed");
    }

    function test_a_trade_rewrites_the_funding_of_the_other_positions() external {
        trade(ALICE, "ETHUSD", 10e18);
        vm.warp(block.timestamp + 1 days);
        refreshPrices();
        int256 before = fundingOf("ETHUSD", _alice);
        trade(ALICE, "BTCUSD", 0.1e18);
        assertTrue(fundingOf("ETHUSD", _alice) > before, "ETHUSD is settled too");
        assertEq(fundingOf("ETHUSD", _alice), symbolOf["ETHUSD"].cumulativeFundingPerVolume(), "up to now");
    }

    function test_removing_margin_rewrites_the_funding_of_all_positions() external {
        trade(ALICE, "ETHUSD", 10e18);
        vm.warp(block.timestamp + 1 days);
        refreshPrices();
        int256 before = fundingOf("ETHUSD", _alice);
        vm.prank(ALICE);
        lite.removeMargin(1e18, none());
        assertTrue(fundingOf("ETHUSD", _alice) > before, "settled");
    }

    function test_a_volume_has_to_be_a_multiple_of_the_minimum() external {
        expectReason("SymbolImplementationFutures.settleOnTrade: invalid tradeVolume");
        trade(ALICE, "BTCUSD", 0.0015e18);
        expectReason("SymbolImplementationFutures.settleOnTrade: invalid tradeVolume");
        trade(ALICE, "BTCUSD", 0);
    }

    function test_the_average_price_is_bounded_by_the_traders_limit() external {
        expectReason("SymbolImplementationFutures.settleOnTrade: slippage exceeds limit");
        vm.prank(ALICE);
        lite.trade("BTCUSD", 1e18, 20_000e18, none());
        expectReason("SymbolImplementationFutures.settleOnTrade: slippage exceeds limit");
        vm.prank(ALICE);
        lite.trade("BTCUSD", -1e18, 20_000e18, none());
    }

    function test_initial_margin_is_wanted() external {
        expectReason("PoolImplementationLite.trade: insufficient margin");
        trade(ALICE, "BTCUSD", 5e18);
    }

    function test_the_pool_wants_a_multiple_of_all_initial_margin() external {
        addMargin(ALICE, 1_000_000e18);
        expectReason("PoolImplementationLite.trade: insufficient liquidity");
        trade(ALICE, "BTCUSD", 51e18);
    }

    function test_a_symbol_may_be_closing_only() external {
        trade(ALICE, "BTCUSD", 0.2e18);
        SymbolImplementation.Terms memory closing = terms();
        closing.isCloseOnly = true;
        Proxy(payable(address(symbolOf["BTCUSD"])))
            .setImplementation(
                address(new SymbolImplementationFutures(address(manager), address(oracleManager), closing, 0.0005e18))
            );
        nextBlock();
        expectReason("SymbolImplementationFutures.settleOnTrade: close only");
        trade(ALICE, "BTCUSD", 0.1e18);
        expectReason("SymbolImplementationFutures.settleOnTrade: close only");
        trade(ALICE, "BTCUSD", -0.3e18);
        trade(ALICE, "BTCUSD", -0.2e18);
    }

    /// A symbol's sums are the sums over all positions, whatever is traded.
    function test_sums_hold_for_any_trades(int8[12] calldata volumes) external {
        address[3] memory traders = [ALICE, BOB, CAROL];
        addMargin(ALICE, 1_000_000e18);
        addMargin(BOB, 1_000_000e18);
        addMargin(CAROL, 1_000_000e18);
        for (uint256 i = 0; i < volumes.length; i++) {
            nextBlock();
            vm.warp(block.timestamp + 30);
            if (volumes[i] != 0) trade(traders[i % 3], "BTCUSD", int256(volumes[i]) * 0.01e18);
        }
        (int256 volume, int256 cost, uint256 holders) = (0, 0, 0);
        for (uint256 pTokenId = 1; pTokenId <= 3; pTokenId++) {
            volume += volumeOf("BTCUSD", pTokenId);
            cost += costOf("BTCUSD", pTokenId);
            if (volumeOf("BTCUSD", pTokenId) != 0) holders++;
        }
        assertEq(symbolOf["BTCUSD"].netVolume(), volume, "netVolume");
        assertEq(symbolOf["BTCUSD"].netCost(), cost, "netCost");
        assertEq(symbolOf["BTCUSD"].nPositionHolders(), holders, "nPositionHolders");
        assertEq(manager.initialMarginRequired(), symbolOf["BTCUSD"].initialMarginRequired(), "initial margin");
    }

    function _expectActive(string memory a, string memory b, string memory c) private view {
        address[] memory active = manager.getActiveSymbols(_alice);
        assertEq(active.length, 3, "three symbols");
        assertEq(active[0], address(symbolOf[a]), a);
        assertEq(active[1], address(symbolOf[b]), b);
        assertEq(active[2], address(symbolOf[c]), c);
    }
}

contract MarginAndLiquidityTest is DeriMarket {
    function test_the_first_margin_mints_a_ptoken() external {
        fund(ALICE, 5e18);
        vm.expectEmit(address(poolProxy));
        emit AddMargin(1, address(tokenB0), 5e18, 5e18);
        vm.prank(ALICE);
        lite.addMargin(5e18, none());
        assertEq(pToken.getTokenIdOf(ALICE), 1, "id from 1");
        assertEq(pToken.totalMinted(), 1, "minted");
        assertTrue(pToken.exists(uint256(1)) && pToken.exists(ALICE) && !pToken.exists(BOB), "exists");
        addMargin(ALICE, 1e18);
        assertEq(pToken.totalMinted(), 1, "one per owner");
        assertEq(amountB0Of(1), 6e18, "added up");
    }

    function test_margin_that_positions_need_stays() external {
        addMargin(ALICE, 3_000e18);
        trade(ALICE, "BTCUSD", 1e18);
        int256 spare = amountB0Of(1) + 20_000e18 - costOf("BTCUSD", 1) - 2_000e18;
        expectReason("PoolImplementationLite.removeMargin: insufficient margin");
        vm.prank(ALICE);
        lite.removeMargin(uint256(spare) + 1, none());
        vm.expectEmit(address(poolProxy));
        emit RemoveMargin(1, address(tokenB0), uint256(spare), amountB0Of(1) - spare);
        vm.prank(ALICE);
        lite.removeMargin(uint256(spare), none());
    }

    function test_liquidity_changes_every_symbol() external {
        addMargin(ALICE, 10_000e18);
        trade(ALICE, "BTCUSD", 1e18);
        setPrice("BTCUSD", 21_000e18);
        vm.warp(block.timestamp + 60);
        fund(CAROL, 100e18);
        vm.expectEmit(address(poolProxy));
        emit AddLiquidity(2, address(tokenB0), 100e18, 100e18);
        vm.prank(CAROL);
        lite.addLiquidity(100e18, none());
        assertEq(symbolOf["BTCUSD"].indexPrice(), 21_000e18, "revalued");
        assertEq(symbolOf["BTCUSD"].fundingTimestamp(), block.timestamp, "funding up to now");
        assertEq(lite.liquidity(), 1_000_100e18, "liquidity");
        assertTrue(lite.lpsPnl() < 0, "Alice's gain is the pool's loss");
    }

    function test_a_symbol_that_hardly_moved_is_left_alone_when_liquidity_is_added() external {
        addMargin(ALICE, 10_000e18);
        trade(ALICE, "BTCUSD", 1e18);
        setPrice("BTCUSD", 20_199e18);
        fund(CAROL, 100e18);
        vm.prank(CAROL);
        lite.addLiquidity(100e18, none());
        assertEq(symbolOf["BTCUSD"].indexPrice(), 20_000e18, "below the threshold of one percent");
    }

    function test_a_provider_takes_out_what_the_pool_earned() external {
        addMargin(ALICE, 10_000e18);
        trade(ALICE, "BTCUSD", 1e18);
        setPrice("BTCUSD", 19_000e18);
        nextBlock();
        trade(ALICE, "BTCUSD", -1e18);
        assertTrue(lite.lpsPnl() > 900e18, "Alice's loss");
        vm.prank(PROVIDER);
        lite.removeLiquidity(100_000e18, none());
        (, int256 amountB0, int256 liquidity,) = lite.lpInfos(1);
        assertTrue(amountB0 > 900_900e18, "with the gain");
        assertEq(lite.liquidity(), liquidity, "the only provider");
        assertTrue(lite.lpsPnl() < 1e6 && lite.lpsPnl() > -1e6, "handed over but for the rounding");
    }

    function test_liquidity_that_positions_need_stays() external {
        addMargin(ALICE, 100_000e18);
        trade(ALICE, "BTCUSD", 20e18);
        expectReason("PoolImplementationLite.removeLiquidity: pool insufficient liquidity");
        vm.prank(PROVIDER);
        lite.removeLiquidity(700_000e18, none());
    }

    function test_the_protocol_collects_its_fees() external {
        addMargin(ALICE, 10_000e18);
        trade(ALICE, "BTCUSD", 1e18);
        uint256 fee = uint256(lite.protocolFeeAccrued());
        lite.setProtocolFeeCollector(CAROL);
        lite.collectProtocolFee();
        assertEq(tokenB0.balanceOf(CAROL), fee, "collected");
        assertEq(lite.protocolFeeAccrued(), 0, "nothing left");
    }
}
