// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {PoolBase} from "../../devnet/deri/pool/PoolBase.sol";
import {PoolImplementationLite} from "../../devnet/deri/pool/PoolImplementationLite.sol";
import {DeriMarket} from "./DeriMarket.sol";

contract ProxyTest is DeriMarket {
    event NewImplementation(address newImplementation);
    event AddSymbol(bytes32 indexed symbolId, address indexed symbol);
    event RemoveSymbol(bytes32 indexed symbolId, address indexed symbol);

    function test_a_new_implementation_may_change_parameters_but_not_state() external {
        uint256 alice = addMargin(ALICE, 3_000e18);
        PoolBase.Rules memory changed = rules();
        changed.minLiquidationReward = 25e18;
        address implementation = address(new PoolImplementationLite(parts(), changed));
        vm.expectEmit(address(poolProxy));
        emit NewImplementation(implementation);
        poolProxy.setImplementation(implementation);
        assertEq(lite.minLiquidationReward(), 25e18, "the parameter");
        assertEq(amountB0Of(alice), 3_000e18, "the state");
    }

    function test_only_the_admin_may_set_it() external {
        vm.prank(BOB);
        expectReason("Admin: only admin");
        poolProxy.setImplementation(address(this));
    }

    function test_symbols_come_and_go() external {
        address symbol = address(symbolOf["ETHUSD"]);
        assertEq(manager.getSymbolsLength(), 2, "two symbols");
        assertEq(manager.indexedSymbols(1), symbol, "by index");
        assertEq(manager.symbols(id("ETHUSD")), symbol, "by id");
        vm.expectEmit(address(manager));
        emit RemoveSymbol(id("ETHUSD"), symbol);
        manager.removeSymbol(id("ETHUSD"));
        assertEq(manager.getSymbolsLength(), 1, "one left");
        vm.expectEmit(address(manager));
        emit AddSymbol(id("ETHUSD"), symbol);
        manager.addSymbol(symbol);
    }

    function test_a_symbol_with_positions_stays() external {
        addMargin(ALICE, 3_000e18);
        trade(ALICE, "BTCUSD", 1e18);
        expectReason("SymbolManagerImplementation.removeSymbol: symbol has positions");
        manager.removeSymbol(id("BTCUSD"));
    }

    function test_a_lite_pool_has_no_vault_implementation() external {
        (bool success,) = address(poolProxy).call(abi.encodeWithSignature("vaultImplementation()"));
        assertTrue(!success, "that is how a Lite pool is told from a full one");
        (success,) = address(poolProxy).call(abi.encodeWithSignature("decimalsB0()"));
        assertTrue(!success, "nor decimals");
    }

    function test_settling_is_for_the_pool_and_the_manager_alone() external {
        expectReason("SymbolManagerImplementation: only pool");
        manager.settleSymbolsOnLiquidate(1, 1e18);
        expectReason("SymbolImplementationFutures: only manager");
        symbolOf["BTCUSD"].settleOnLiquidate(1, 1e18);
    }
}
