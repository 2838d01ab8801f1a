// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Comptroller, LendingPrices} from "../../devnet/deri/lending/Comptroller.sol";
import {VToken} from "../../devnet/deri/lending/VToken.sol";
import {PoolImplementation} from "../../devnet/deri/pool/PoolImplementation.sol";
import {Swapper} from "../../devnet/deri/swap/Swapper.sol";
import {DevToken} from "../../devnet/deri/token/DevToken.sol";
import {VaultImplementation} from "../../devnet/deri/vault/VaultImplementation.sol";
import {IVault} from "../../interfaces/deri/IVault.sol";
import {DeriMarket} from "./DeriMarket.sol";

/// Collateral in vaults over a lending protocol, and a B0 of six decimals.
contract FullPoolTest is DeriMarket {
    uint256 private constant UNIT = 1e6;
    /// About ten percent a year on what is borrowed.
    uint256 private constant BORROW_RATE = uint256(0.1e18) / 365 days;

    PoolImplementation private _pool;
    Comptroller private _comptroller;
    LendingPrices private _prices;
    Swapper private _swapper;
    DevToken private _cake;
    VToken private _vB0;
    VToken private _vBNB;
    VToken private _vCAKE;

    function decimalsB0() internal pure override returns (uint8) {
        return 6;
    }

    function poolImplementation() internal override returns (address) {
        addOracle("BNBUSD");
        addOracle("CAKEUSD");
        setPrice("BNBUSD", 300e18);
        setPrice("CAKEUSD", 4e18);
        _cake = new DevToken("Cake", "CAKE", 18);
        _comptroller = new Comptroller();
        _prices = new LendingPrices();
        _comptroller.setPriceOracle(address(_prices));
        _vB0 = _market(address(tokenB0), 1e30, 0.8e18);
        _vBNB = _market(address(0), 300e18, 0.8e18);
        _vCAKE = _market(address(_cake), 4e18, 0.5e18);
        _swapper = new Swapper(address(tokenB0), address(oracleManager), 0.1e18);
        _swapper.setPair(address(0), 300e6, 30, id("BNBUSD"));
        _swapper.setPair(address(_cake), 4e6, 30, id("CAKEUSD"));
        VaultImplementation vault =
            new VaultImplementation(address(poolProxy), address(_comptroller), address(_vBNB), 1.25e18);
        PoolImplementation.VaultParts memory vaults = PoolImplementation.VaultParts({
            vaultImplementation: address(vault),
            vTokenB0: address(_vB0),
            vTokenETH: address(_vBNB),
            swapper: address(_swapper),
            reserveRatioB0: 0.25e18,
            minRatioB0: 0.05e18
        });
        _pool = PoolImplementation(payable(address(poolProxy)));
        return address(new PoolImplementation(parts(), rules(), vaults));
    }

    function provideLiquidity() internal override {
        _pool.addMarket(address(_vB0));
        _pool.addMarket(address(_vBNB));
        _pool.addMarket(address(_vCAKE));
        fund(PROVIDER, 2_000_000 * UNIT);
        vm.prank(PROVIDER);
        _pool.addLiquidity(address(tokenB0), 2_000_000 * UNIT, none());
    }

    function test_a_full_pool_says_so() external view {
        assertTrue(_pool.vaultImplementation() != address(0), "vaultImplementation");
        assertEq(_pool.decimalsB0(), 6, "decimalsB0");
        assertEq(_pool.vTokenB0(), address(_vB0), "vTokenB0");
        assertEq(_pool.vTokenETH(), address(_vBNB), "vTokenETH");
        assertEq(address(_pool.swapper()), address(_swapper), "swapper");
    }

    function test_a_quarter_of_b0_stays_at_hand_the_rest_is_lent() external {
        (IVault vault, int256 amountB0) = _margin(ALICE, 1_000 * UNIT);
        assertEq(amountB0, 250e18, "at hand, with 18 decimals");
        (uint256 vTokens, uint256 underlying) = vault.getBalances(address(_vB0));
        assertEq(vTokens, 750 * UNIT, "one to one at the start");
        assertEq(underlying, 750 * UNIT, "lent");
        assertEq(vault.getMarketsIn().length, 1, "one market");
        assertEq(vault.getVaultLiquidity(), 750e18, "0.8 * 1.25 of 750");
        assertEq(_pool.liquidity(), 2_000_000e18, "the provider's, alike");
    }

    function test_margin_in_every_collateral_is_logged_with_its_worth() external {
        vm.deal(ALICE, 2e18);
        vm.expectEmit(address(_pool));
        emit AddMargin(1, address(0), 2e18, 600e18);
        vm.prank(ALICE);
        _pool.addMargin{value: 2e18}(address(0), 0, none());

        _cake.mint(ALICE, 100e18);
        vm.startPrank(ALICE);
        _cake.approve(address(_pool), 100e18);
        vm.expectEmit(address(_pool));
        emit AddMargin(1, address(_cake), 100e18, 850e18);
        _pool.addMargin(address(_cake), 100e18, none());
        vm.stopPrank();

        address[] memory markets = _vaultOf(1).getMarketsIn();
        assertEq(markets[0], address(_vBNB), "in the order of entering");
        assertEq(markets[1], address(_vCAKE), "in the order of entering");
    }

    function test_vault_liquidity_follows_the_lending_protocols_prices() external {
        IVault vault = _native(ALICE, 2e18);
        _prices.setPrice(address(_vBNB), 200e18);
        assertEq(vault.getVaultLiquidity(), 400e18, "200 * 2 * 0.8 * 1.25");
        _comptroller.setMarket(address(_vBNB), 0.4e18);
        assertEq(vault.getVaultLiquidity(), 200e18, "half the collateral factor");
    }

    function test_interest_shows_in_the_stored_rate_only_after_somebody_acts() external {
        _lend();
        uint256 stored = _vB0.exchangeRateStored();
        vm.warp(block.timestamp + 30 days);
        assertEq(_vB0.exchangeRateStored(), stored, "stored");
        _vB0.accrueInterest();
        assertTrue(_vB0.exchangeRateStored() > stored, "accrued");
    }

    function test_a_redemption_gives_more_than_the_stored_rate_says() external {
        (IVault vault,) = _margin(ALICE, 1_000 * UNIT);
        _lend();
        vm.warp(block.timestamp + 30 days);
        (, uint256 promised) = vault.getBalances(address(_vB0));
        vm.prank(address(_pool));
        uint256 given = vault.redeemAll(address(_vB0));
        assertTrue(given > promised, "with the interest");
    }

    function test_a_liquidation_empties_the_vault_and_swaps_what_is_not_b0() external {
        uint256 alice = _longWithEverything();
        setPrice("BTCUSD", 18_000e18);
        uint256 held = tokenB0.balanceOf(address(_pool));
        liquidate(alice);
        IVault vault = _vaultOf(alice);
        assertEq(_vB0.balanceOf(address(vault)), 0, "no B0 left");
        assertEq(_vBNB.balanceOf(address(vault)), 0, "no BNB left");
        assertEq(_vCAKE.balanceOf(address(vault)), 0, "no CAKE left");
        assertEq(amountB0Of(alice), 0, "no amountB0 left");
        uint256 received = 750 * UNIT + 2 * 300 * UNIT * 9970 / 10000 + 100 * 4 * UNIT * 9970 / 10000;
        uint256 reward = tokenB0.balanceOf(LIQUIDATOR);
        assertEq(tokenB0.balanceOf(address(_pool)), held + received - reward, "all of it is the pool's B0");
    }

    function test_the_reward_is_cut_to_the_tokens_decimals() external {
        uint256 alice = _longWithEverything();
        setPrice("BTCUSD", 18_000e18);
        int256 equity = _pool.liquidity() + _pool.lpsPnl();
        liquidate(alice);
        uint256 reward = tokenB0.balanceOf(LIQUIDATOR);
        assertTrue(reward >= 10 * UNIT && reward < 1000 * UNIT, "in six decimals");
        assertTrue(_pool.liquidity() + _pool.lpsPnl() != equity, "the pool's share is settled");
    }

    function test_the_names_in_the_reverts_are_the_full_pools() external {
        uint256 alice = _longWithEverything();
        expectReason("PoolImplementation.liquidate: cannot liquidate");
        liquidate(alice);
        expectReason("PoolImplementation.liquidate: nonexistent pTokenId");
        liquidate(99);
        expectReason("PoolImplementation.liquidate: unqualified liquidator");
        vm.prank(BOB);
        _pool.liquidate(alice, none());
        _margin(BOB, UNIT);
        uint256 bob = pToken.getTokenIdOf(BOB);
        expectReason("PoolImplementation.liquidate: no position");
        liquidate(bob);
    }

    function test_a_swap_too_far_below_the_oracle_stops_the_liquidation() external {
        uint256 alice = _longWithEverything();
        setPrice("BTCUSD", 18_000e18);
        setPrice("BNBUSD", 333e18); // 300 * 0.997 = 299.1 is below 333 * 0.9 = 299.7
        expectReason("Swapper: slippage exceeds allowance");
        liquidate(alice);
        setPrice("BNBUSD", 332e18);
        liquidate(alice);
    }

    function test_the_swap_asks_no_oracle_whether_its_price_has_expired() external {
        uint256 alice = _longWithEverything();
        vm.warp(block.timestamp + 1 days);
        refreshPrices();
        setPrice("BTCUSD", 18_000e18);
        liquidate(alice);
    }

    function test_a_shortfall_in_the_lending_protocol_stops_the_liquidation() external {
        uint256 alice = _longWithEverything();
        vm.prank(address(_vaultOf(alice)));
        assertEq(_vB0.borrow(900 * UNIT), 0, "a loan");
        _prices.setPrice(address(_vBNB), 1e18);
        setPrice("BTCUSD", 18_000e18);
        expectReason("VaultImplementation.getVaultLiquidity: error with getAccountLiquidity");
        liquidate(alice);
    }

    function test_a_failed_redemption_stops_the_liquidation() external {
        uint256 alice = _longWithEverything();
        setPrice("BTCUSD", 18_000e18);
        // All the market's cash is lent out.
        address borrower = address(0xb1);
        vm.deal(borrower, 100_000e18);
        address[] memory entered = new address[](2);
        (entered[0], entered[1]) = (address(_vBNB), address(_vB0));
        uint256 cash = _vB0.getCash();
        vm.startPrank(borrower);
        _comptroller.enterMarkets(entered);
        _vBNB.mint{value: 100_000e18}();
        assertEq(_vB0.borrow(cash), 0, "lent out");
        vm.stopPrank();
        expectReason("VaultImplementation.redeemAll: redeem error");
        liquidate(alice);
    }

    function test_margin_comes_back_out_of_the_vault() external {
        _margin(ALICE, 1_000 * UNIT);
        vm.expectEmit(address(_pool));
        emit RemoveMargin(1, address(tokenB0), 900 * UNIT, 100e18);
        vm.prank(ALICE);
        _pool.removeMargin(address(tokenB0), 900 * UNIT, none());
        assertEq(amountB0Of(1), 100e18, "750 from the vault, 150 from what is at hand");
        assertEq(tokenB0.balanceOf(ALICE), 900 * UNIT, "paid");
    }

    function test_liquidity_comes_back_out_of_the_vault() external {
        vm.expectEmit(address(_pool));
        emit RemoveLiquidity(1, address(tokenB0), 500_000 * UNIT, 1_500_000e18);
        vm.prank(PROVIDER);
        _pool.removeLiquidity(address(tokenB0), 500_000 * UNIT, none());
        assertEq(_pool.liquidity(), 1_500_000e18, "liquidity");
    }

    function test_a_collateral_has_to_be_listed() external {
        vm.prank(ALICE);
        expectReason("PoolImplementation: unsupported underlying");
        _pool.addMargin(address(deri), 1, none());
    }

    // ---- building

    function _market(address underlying, uint256 price, uint256 factor) private returns (VToken vToken) {
        vToken = new VToken(address(_comptroller), underlying, BORROW_RATE);
        _prices.setPrice(address(vToken), price);
        _comptroller.setMarket(address(vToken), factor);
    }

    function _margin(address trader, uint256 amount) private returns (IVault vault, int256 amountB0) {
        fund(trader, amount);
        vm.prank(trader);
        _pool.addMargin(address(tokenB0), amount, none());
        uint256 pTokenId = pToken.getTokenIdOf(trader);
        return (_vaultOf(pTokenId), amountB0Of(pTokenId));
    }

    function _native(address trader, uint256 amount) private returns (IVault) {
        vm.deal(trader, amount);
        vm.prank(trader);
        _pool.addMargin{value: amount}(address(0), 0, none());
        return _vaultOf(pToken.getTokenIdOf(trader));
    }

    function _longWithEverything() private returns (uint256) {
        _margin(ALICE, 1_000 * UNIT);
        _native(ALICE, 2e18);
        _cake.mint(ALICE, 100e18);
        vm.startPrank(ALICE);
        _cake.approve(address(_pool), 100e18);
        _pool.addMargin(address(_cake), 100e18, none());
        vm.stopPrank();
        trade(ALICE, "BTCUSD", 0.8e18);
        nextBlock();
        return pToken.getTokenIdOf(ALICE);
    }

    /// Somebody borrows B0 against BNB, so that lending it earns.
    function _lend() private {
        address borrower = address(0xb1);
        vm.deal(borrower, 10_000e18);
        address[] memory entered = new address[](2);
        (entered[0], entered[1]) = (address(_vBNB), address(_vB0));
        vm.startPrank(borrower);
        _comptroller.enterMarkets(entered);
        _vBNB.mint{value: 10_000e18}();
        assertEq(_vB0.borrow(500_000 * UNIT), 0, "a loan");
        vm.stopPrank();
    }

    function _vaultOf(uint256 pTokenId) private view returns (IVault) {
        (address vault,) = _pool.tdInfos(pTokenId);
        return IVault(vault);
    }
}
