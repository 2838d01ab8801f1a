// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {PoolImplementationLite} from "../../devnet/deri/pool/PoolImplementationLite.sol";
import {Proxy} from "../../devnet/deri/proxy/Proxy.sol";
import {PoolSeeding, SeedablePoolLite} from "../../devnet/deri/seeding/PoolSeeding.sol";
import {SeedableSymbolManager} from "../../devnet/deri/seeding/SymbolManagerSeeding.sol";
import {SeedableFutures} from "../../devnet/deri/seeding/SymbolSeeding.sol";
import {SymbolImplementationFutures} from "../../devnet/deri/symbol/SymbolImplementationFutures.sol";
import {SymbolManagerImplementation} from "../../devnet/deri/symbol/SymbolManagerImplementation.sol";
import {Vm} from "../Vm.sol";
import {DeriMarket} from "./DeriMarket.sol";

/// Many accounts at once, as if they had traded.
contract SeedingTest is DeriMarket {
    uint256 private constant ACCOUNTS = 20;

    SeedablePoolLite private _pool;

    event Transfer(address indexed from, address indexed to, uint256 indexed tokenId);

    function setUp() public override {
        super.setUp();
        _become(
            address(new SeedablePoolLite(parts(), rules())),
            address(new SeedableSymbolManager(address(poolProxy))),
            address(new SeedableFutures(address(manager), address(oracleManager), terms(), 0.0005e18))
        );
        _pool = SeedablePoolLite(address(poolProxy));
        fund(address(this), 1_000_000e18);
    }

    function test_the_invariants_of_traded_accounts_hold() external {
        _pool.seed(_accounts(), none());
        assertEq(pToken.totalMinted(), ACCOUNTS, "one pToken each");
        assertEq(pToken.getTokenIdOf(address(0x2000)), 1, "in the order given");
        string[2] memory names = ["BTCUSD", "ETHUSD"];
        for (uint256 n = 0; n < 2; n++) {
            (int256 volume, int256 cost) = (0, 0);
            for (uint256 pTokenId = 1; pTokenId <= ACCOUNTS; pTokenId++) {
                volume += volumeOf(names[n], pTokenId);
                cost += costOf(names[n], pTokenId);
            }
            assertTrue(volume != 0, "something is held");
            assertEq(symbolOf[names[n]].netVolume(), volume, "netVolume");
            assertEq(symbolOf[names[n]].netCost(), cost, "netCost");
            assertEq(symbolOf[names[n]].nPositionHolders(), ACCOUNTS, "holders");
        }
        address[] memory active = manager.getActiveSymbols(7);
        assertEq(active[0], address(symbolOf["BTCUSD"]), "in the order of opening");
        assertEq(active[1], address(symbolOf["ETHUSD"]), "in the order of opening");
        assertEq(amountB0Of(7), 5_000e18, "margin");
        assertEq(
            manager.initialMarginRequired(),
            symbolOf["BTCUSD"].initialMarginRequired() + symbolOf["ETHUSD"].initialMarginRequired(),
            "initial margin of all"
        );
    }

    function test_the_events_of_real_accounts_are_logged() external {
        vm.recordLogs();
        _pool.seed(_accounts(), none());
        Vm.Log[] memory logs = vm.getRecordedLogs();
        (uint256 minted, uint256 added, uint256 traded) = (0, 0, 0);
        for (uint256 i = 0; i < logs.length; i++) {
            if (logs[i].emitter == address(pToken) && logs[i].topics[0] == Transfer.selector) minted++;
            if (logs[i].emitter == address(_pool) && logs[i].topics[0] == AddMargin.selector) added++;
            if (logs[i].emitter == address(manager) && logs[i].topics[0] == Trade.selector) traded++;
        }
        assertEq(minted, ACCOUNTS, "Transfer");
        assertEq(added, ACCOUNTS, "AddMargin");
        assertEq(traded, 2 * ACCOUNTS, "Trade");
    }

    /// Whoever trades, trades against prices that include what was seeded; the books stay whole.
    function test_seeded_accounts_trade_and_are_liquidated_by_the_plain_contracts() external {
        _pool.seed(_accounts(), none());
        _become(
            address(new PoolImplementationLite(parts(), rules())),
            address(new SymbolManagerImplementation(address(poolProxy))),
            address(new SymbolImplementationFutures(address(manager), address(oracleManager), terms(), 0.0005e18))
        );
        nextBlock();
        vm.warp(block.timestamp + 120);
        trade(address(0x2001), "BTCUSD", -0.1e18);
        setPrice("BTCUSD", 10_000e18);
        for (uint256 pTokenId = 1; pTokenId <= ACCOUNTS; pTokenId++) {
            if (volumeOf("BTCUSD", pTokenId) < 0.7e18) continue;
            nextBlock();
            liquidate(pTokenId);
            assertEq(manager.getActiveSymbols(pTokenId).length, 0, "closed");
        }
        assertTrue(tokenB0.balanceOf(LIQUIDATOR) > 0, "rewarded");

        setPrice("BTCUSD", 20_000e18);
        // Everybody else closes; then every token belongs to somebody again.
        for (uint256 pTokenId = 1; pTokenId <= ACCOUNTS; pTokenId++) {
            address owner = pToken.getOwnerOf(pTokenId);
            string[2] memory names = ["BTCUSD", "ETHUSD"];
            for (uint256 n = 0; n < 2; n++) {
                nextBlock();
                int256 volume = volumeOf(names[n], pTokenId);
                if (volume != 0) trade(owner, names[n], -volume);
            }
        }
        (, int256 owed,,) = lite.lpInfos(1);
        for (uint256 pTokenId = 1; pTokenId <= ACCOUNTS; pTokenId++) {
            owed += amountB0Of(pTokenId);
        }
        owed += lite.lpsPnl() + lite.protocolFeeAccrued();
        int256 held = int256(tokenB0.balanceOf(address(lite)));
        assertTrue(held - owed < 1000 && owed - held < 1000, "to the wei but for rounding");
    }

    function test_only_the_admin_seeds() external {
        vm.prank(BOB);
        expectReason("Admin: only admin");
        _pool.seed(_accounts(), none());
    }

    function _accounts() private pure returns (PoolSeeding.SeedAccount[] memory accounts) {
        accounts = new PoolSeeding.SeedAccount[](ACCOUNTS);
        for (uint256 i = 0; i < ACCOUNTS; i++) {
            PoolSeeding.SeedPosition[] memory positions = new PoolSeeding.SeedPosition[](2);
            int256 btc = (int256(i % 5) - 1) * 0.25e18 + 0.1e18;
            int256 eth = int256(i % 3) * 2e18 - 3e18;
            positions[0] = PoolSeeding.SeedPosition(id("BTCUSD"), btc, btc * 20_000);
            positions[1] = PoolSeeding.SeedPosition(id("ETHUSD"), eth, eth * 1_000);
            accounts[i] = PoolSeeding.SeedAccount(address(uint160(0x2000 + i)), 5_000e18, positions);
        }
    }

    function _become(address pool, address manager_, address futures) private {
        poolProxy.setImplementation(pool);
        Proxy(payable(address(manager))).setImplementation(manager_);
        Proxy(payable(address(symbolOf["BTCUSD"]))).setImplementation(futures);
        Proxy(payable(address(symbolOf["ETHUSD"]))).setImplementation(futures);
    }
}
