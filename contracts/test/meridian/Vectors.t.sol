// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Aggregator} from "../../devnet/meridian/Aggregator.sol";
import {IVault} from "../../devnet/meridian/Interfaces.sol";
import {PositionManager} from "../../devnet/meridian/PositionManager.sol";
import {Timelock} from "../../devnet/meridian/Timelock.sol";
import {Token} from "../../devnet/meridian/Token.sol";
import {VaultPriceFeed} from "../../devnet/meridian/VaultPriceFeed.sol";
import {VaultStorage} from "../../devnet/meridian/VaultStorage.sol";
import {VaultUtils} from "../../devnet/meridian/VaultUtils.sol";
import {Test} from "../Test.sol";
import {Vm} from "../Vm.sol";
import {LoadableFastPriceFeed, LoadableVault} from "./Loadable.sol";
import {Words} from "./Words.sol";

/// Every recorded outcome, replayed on this market's contracts: prices, views, reverts, payments, the vault afterwards
/// and the event. Files come from tools/unpack-meridian-vectors.
contract VectorsTest is Test {
    using Words for Words.Reader;

    struct Position {
        address account;
        uint256 collateralToken;
        uint256 indexToken;
        bool isLong;
    }

    struct Expected {
        Position position;
        bool direct;
        address caller;
        uint256[2][3] views;
        string[3] viewReverts;
        bool ok;
        string reason;
        uint256 state;
        uint256 feeReceived;
        uint256 traderReceived;
        uint256[7] vault;
        bool liquidated;
        uint256 price;
        uint256 fee;
    }

    address private constant RECEIVER = address(0xFEE);
    address private constant GOVERNOR = address(0x60);
    bytes32 private constant LIQUIDATED = VaultStorage.LiquidatePosition.selector;
    bytes32 private constant DECREASED = VaultStorage.DecreasePosition.selector;
    bytes32 private constant COLLECTED = VaultStorage.CollectMarginFees.selector;

    address[2] private callers = [address(0xA11CE), address(0x57A46E)];
    LoadableVault private vault;
    VaultPriceFeed private feed;
    LoadableFastPriceFeed private fast;
    PositionManager private manager;
    Timelock private timelock;
    bool private hasTimelock;
    Token[] private tokens;
    Aggregator[] private sources;
    Position[] private positions;
    string private where;

    function test_every_recorded_outcome() public {
        uint256 count = vm.parseUint(vm.readFile("cache/vectors/meridian/count"));
        assertTrue(count > 0, "no vectors unpacked");
        uint256 outcomes;
        for (uint256 i = 0; i < count; ++i) {
            string memory file = string.concat("cache/vectors/meridian/", vm.toString(i), ".words");
            outcomes += _scenario(Words.Reader(vm.readFileBinary(file), 0));
        }
        emit log(string.concat(vm.toString(outcomes), " outcomes"));
        assertTrue(outcomes > 0, "no outcomes replayed");
    }

    function _scenario(Words.Reader memory r) private returns (uint256 outcomes) {
        delete tokens;
        delete sources;
        delete positions;
        string memory id = r.text();
        _deploy(r);
        uint256 count = r.number();
        for (uint256 i = 0; i < count; ++i) {
            _loadToken(r);
        }
        count = r.number();
        for (uint256 i = 0; i < count; ++i) {
            _loadPosition(r);
        }
        vault.setGov(hasTimelock ? address(timelock) : GOVERNOR);
        count = r.number();
        for (uint256 i = 0; i < count; ++i) {
            where = string.concat(id, " eval ", vm.toString(i), " ");
            uint256 before = vm.snapshotState();
            uint256 timestamp = r.number();
            vm.warp(timestamp);
            fast.loadUpdatedAt(r.number());
            uint256 prices = r.number();
            for (uint256 j = 0; j < prices; ++j) {
                _loadPrice(r);
            }
            uint256 cases = r.number();
            for (uint256 j = 0; j < cases; ++j) {
                _outcome(_expected(r));
            }
            outcomes += cases;
            vm.revertToState(before);
        }
    }

    function _deploy(Words.Reader memory r) private {
        vault = new LoadableVault();
        vault.setMaxLeverage(r.number());
        uint256 liquidationFee = r.number();
        uint256 marginFee = r.number();
        vault.setFees(marginFee, liquidationFee, r.number());
        vault.setFundingRate(r.number(), r.number(), r.number());
        vault.setInPrivateLiquidationMode(r.flag());
        vault.setIsLeverageEnabled(r.flag());
        vault.setVaultUtils(address(new VaultUtils(IVault(address(vault)))));
        vault.setError(34, "Vault: invalid liquidator");
        vault.setError(35, "Vault: empty position");
        vault.setError(36, "Vault: position cannot be liquidated");
        vault.setError(38, "Vault: invalid _averagePrice");
        vault.setError(49, "Vault: invalid increase");
        vault.setError(50, "Vault: reserve exceeds pool");
        manager = new PositionManager(IVault(address(vault)));
        vault.setLiquidator(callers[0], r.flag());
        vault.setLiquidator(callers[1], r.flag());
        vault.setLiquidator(address(manager), r.flag());
        manager.setLiquidator(callers[0], r.flag());
        manager.setLiquidator(callers[1], r.flag());
        hasTimelock = r.flag();
        timelock = new Timelock(r.number(), r.number());
        timelock.setShouldToggleIsLeverageEnabled(r.flag());
        timelock.setHandler(address(manager), r.flag());
        feed = new VaultPriceFeed();
        fast = new LoadableFastPriceFeed();
        feed.setIsAmmEnabled(r.flag());
        feed.setIsSecondaryPriceEnabled(r.flag());
        if (r.flag()) feed.setSecondaryPriceFeed(address(fast));
        feed.setPriceSampleSpace(r.number());
        feed.setMaxStrictPriceDeviation(r.number());
        fast.setDurations(r.number(), r.number());
        fast.setSpreads(r.number(), r.number(), r.number());
        vault.setPriceFeed(address(feed));
    }

    function _loadToken(Words.Reader memory r) private {
        uint256 decimals = r.number();
        Token token = new Token("T", uint8(decimals));
        vault.setTokenConfig(address(token), decimals, r.number(), r.flag(), r.flag());
        vault.loadToken(
            address(token),
            LoadableVault.TokenState(
                r.number(), r.number(), r.number(), r.number(), r.number(), r.number(), r.number(), r.number()
            )
        );
        token.mint(address(vault), r.number());
        Aggregator source = new Aggregator();
        uint256 priceDecimals = r.number();
        feed.setSpreadBasisPoints(address(token), r.number());
        feed.setTokenConfig(address(token), address(source), priceDecimals, r.flag());
        uint256 adjustment = r.number();
        feed.setAdjustment(address(token), r.flag(), adjustment);
        tokens.push(token);
        sources.push(source);
    }

    function _loadPosition(Words.Reader memory r) private {
        Position memory p = Position(r.account(), r.number(), r.number(), r.flag());
        positions.push(p);
        bytes32 key = vault.getPositionKey(
            p.account, address(tokens[p.collateralToken]), address(tokens[p.indexToken]), p.isLong
        );
        vault.loadPosition(
            key,
            VaultStorage.Position(
                r.number(), r.number(), r.number(), r.number(), r.number(), int256(r.number()), r.number()
            )
        );
    }

    function _loadPrice(Words.Reader memory r) private {
        uint256 index = r.number();
        uint256[] memory rounds = new uint256[](r.number());
        for (uint256 i = 0; i < rounds.length; ++i) {
            rounds[i] = r.number();
        }
        for (uint256 i = rounds.length; i > 0; --i) {
            sources[index].answer(int256(rounds[i - 1]));
        }
        address token = address(tokens[index]);
        uint256 fastPrice = r.number();
        feed.setAmmPrice(token, r.number());
        fast.loadPrice(token, fastPrice, r.flag());
        assertEq(feed.getPrice(token, false, true, false), r.number(), string.concat(where, "min price"));
        assertEq(feed.getPrice(token, true, true, false), r.number(), string.concat(where, "max price"));
        assertEq(feed.getPrice(token, false, false, false), r.number(), string.concat(where, "min price, no AMM"));
        assertEq(feed.getPrice(token, true, false, false), r.number(), string.concat(where, "max price, no AMM"));
    }

    function _expected(Words.Reader memory r) private view returns (Expected memory e) {
        e.position = positions[r.number()];
        e.direct = r.flag();
        e.caller = callers[r.number()];
        for (uint256 i = 0; i < 3; ++i) {
            if (r.flag()) e.views[i] = [r.number(), r.number()];
            else e.viewReverts[i] = r.text();
        }
        e.ok = r.flag();
        if (!e.ok) {
            e.reason = r.text();
            return e;
        }
        e.state = r.number();
        e.feeReceived = r.number();
        e.traderReceived = r.number();
        for (uint256 i = 0; i < 7; ++i) {
            e.vault[i] = r.number();
        }
        e.liquidated = r.flag();
        e.price = r.number();
        e.fee = r.number();
    }

    function _outcome(Expected memory e) private {
        uint256 before = vm.snapshotState();
        Position memory p = e.position;
        Token token = tokens[p.collateralToken];
        _checkView(e, 0);
        vault.updateCumulativeFundingRate(address(token), address(0));
        _checkView(e, 1);
        bool switches = hasTimelock && !e.direct;
        vault.loadCallSettings(switches ? timelock.marginFeeBasisPoints() : vault.marginFeeBasisPoints());
        _checkView(e, 2);
        vm.revertToState(before);

        uint256 held = token.balanceOf(p.account);
        vm.recordLogs();
        vm.prank(e.caller);
        (bool ok, bytes memory answer) = (e.direct ? address(vault) : address(manager))
        .call(
            abi.encodeCall(
                vault.liquidatePosition, (p.account, address(token), address(tokens[p.indexToken]), p.isLong, RECEIVER)
            )
        );
        assertEq(ok ? 1 : 0, e.ok ? 1 : 0, string.concat(where, "success"));
        if (ok) _checkClosed(e, token.balanceOf(p.account) - held);
        else assertEq(reasonOf(answer), e.reason, string.concat(where, "reason"));
        vm.revertToState(before);
    }

    function _checkView(Expected memory e, uint256 which) private view {
        Position memory p = e.position;
        try vault.validateLiquidation(
            p.account, address(tokens[p.collateralToken]), address(tokens[p.indexToken]), p.isLong, false
        ) returns (
            uint256 state, uint256 fees
        ) {
            assertEq(state, e.views[which][0], string.concat(where, "state of view ", vm.toString(which)));
            assertEq(fees, e.views[which][1], string.concat(where, "fees of view ", vm.toString(which)));
        } catch (bytes memory answer) {
            assertEq(reasonOf(answer), e.viewReverts[which], string.concat(where, "revert of a view"));
        }
    }

    function _checkClosed(Expected memory e, uint256 traderReceived) private {
        address token = address(tokens[e.position.collateralToken]);
        assertEq(Token(token).balanceOf(RECEIVER), e.feeReceived, string.concat(where, "fee received"));
        assertEq(traderReceived, e.traderReceived, string.concat(where, "trader received"));
        assertEq(vault.poolAmounts(token), e.vault[0], string.concat(where, "pool"));
        assertEq(vault.reservedAmounts(token), e.vault[1], string.concat(where, "reserved"));
        assertEq(vault.feeReserves(token), e.vault[2], string.concat(where, "fee reserve"));
        assertEq(vault.guaranteedUsd(token), e.vault[3], string.concat(where, "guaranteed"));
        assertEq(vault.cumulativeFundingRates(token), e.vault[4], string.concat(where, "funding rate"));
        assertEq(vault.lastFundingTimes(token), e.vault[5], string.concat(where, "funding time"));
        address index = address(tokens[e.position.indexToken]);
        assertEq(vault.globalShortSizes(index), e.vault[6], string.concat(where, "short size"));
        assertEq(e.liquidated ? 1 : 2, e.state, string.concat(where, "state"));

        bool seen;
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i = 0; i < logs.length; ++i) {
            bytes32 topic = logs[i].topics[0];
            if (topic == (e.liquidated ? LIQUIDATED : DECREASED)) {
                seen = true;
                uint256 word = e.liquidated ? 9 : 7;
                assertEq(Words.wordAt(logs[i].data, word), e.price, string.concat(where, "mark price"));
            } else if (topic == COLLECTED) {
                assertEq(Words.wordAt(logs[i].data, 1), e.fee, string.concat(where, "fee"));
            }
        }
        assertTrue(seen, string.concat(where, "expected the event of its state"));
    }
}
