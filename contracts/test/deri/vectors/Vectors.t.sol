// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {SymbolSettlement} from "../../../interfaces/deri/ISymbol.sol";
import {AccountSettlement} from "../../../interfaces/deri/ISymbolManager.sol";
import {IVault} from "../../../interfaces/deri/IVault.sol";
import {OracleSignature} from "../../../interfaces/deri/IOracleManager.sol";
import {ISymbol} from "../../../interfaces/deri/ISymbol.sol";
import {RecordedWorld} from "./RecordedWorld.sol";
import {
    AccountVector,
    LOCKED,
    LiquidatorVector,
    OutcomeVector,
    PositionVector,
    QUALIFIED,
    SettlementVector,
    Snapshot,
    StepVector
} from "./Vectors.sol";

/// Every outcome recorded from the real contracts has to come out of the devnet's to the last wei.
contract VectorsTest is RecordedWorld {
    string private constant FOLDER = "cache/vectors/deri/";

    /// The recorded rows hold the first ten fields of a symbol's settlement.
    uint256 private constant ROW = 10;

    uint256 private _outcomes;
    uint256 private _steps;
    uint256 private _answers;
    uint256 private _gas;
    uint256 private _gasRecorded;

    function test_every_recorded_outcome() external {
        require(vm.exists(string.concat(FOLDER, "count")), "no vectors: run tools/unpack-vectors first");
        uint256 count = vm.parseUint(vm.readFile(string.concat(FOLDER, "count")));
        require(count > 0, "the vectors hold no snapshot");
        for (uint256 i = 0; i < count; i++) {
            this.checkSnapshot(vm.readFileBinary(string.concat(FOLDER, vm.toString(i), ".abi")));
        }
        emit log(string.concat(
                string.concat(vm.toString(_outcomes), " outcomes, ", vm.toString(_steps), " steps, "),
                string.concat(vm.toString(_answers), " eligibility answers exact; gas of the successful "),
                string.concat(vm.toString(_gas), ", recorded ", vm.toString(_gasRecorded))
            ));
    }

    function checkSnapshot(bytes calldata encoded) external {
        Snapshot memory snapshot = abi.decode(encoded, (Snapshot));
        build(snapshot);
        _checkEligibility(snapshot);

        uint256 fresh = vm.snapshotState();
        (uint256 gas, uint256 gasRecorded) = (0, 0);
        for (uint256 i = 0; i < snapshot.outcomes.length; i++) {
            OutcomeVector memory outcome = snapshot.outcomes[i];
            AccountVector memory account = _account(snapshot, outcome.pTokenId);
            string memory what = string.concat(snapshot.id, " pToken ", vm.toString(outcome.pTokenId), " ");
            if (outcome.settled) {
                _checkRows(snapshot.signatures, account, outcome, what);
                vm.revertToState(fresh);
                _checkSums(snapshot.signatures, account, outcome, what);
                vm.revertToState(fresh);
            }
            expectRedemptions(account, outcome.redemptions);
            uint256 used = _checkLiquidation(snapshot, account, outcome, what);
            vm.revertToState(fresh);
            if (outcome.liquidatable) (gas, gasRecorded) = (gas + used, gasRecorded + outcome.gasUsed);
        }
        for (uint256 i = 0; i < snapshot.steps.length; i++) {
            _checkStep(snapshot, snapshot.steps[i], string.concat(snapshot.id, " step ", vm.toString(i), " "));
        }
        vm.revertToState(fresh);
        _outcomes += snapshot.outcomes.length;
        _steps += snapshot.steps.length;
        _answers += snapshot.privileger.liquidators.length;
        (_gas, _gasRecorded) = (_gas + gas, _gasRecorded + gasRecorded);
    }

    function _checkEligibility(Snapshot memory snapshot) private view {
        for (uint256 i = 0; i < snapshot.privileger.liquidators.length; i++) {
            LiquidatorVector memory l = snapshot.privileger.liquidators[i];
            try privileger.isQualifiedLiquidator(l.account) returns (bool qualified) {
                assertTrue(qualified == (l.qualifiedAtExec == QUALIFIED), string.concat(snapshot.id, " eligibility"));
                assertTrue(l.qualifiedAtExec != LOCKED, string.concat(snapshot.id, " lock not noticed"));
            } catch Error(string memory reason) {
                assertTrue(l.qualifiedAtExec == LOCKED, string.concat(snapshot.id, " no lock"));
                assertEq(reason, "PrivilegerImplementation: minLockTime not met", snapshot.id);
            }
        }
    }

    /// Symbol by symbol: what `settleOnLiquidate` answers.
    function _checkRows(
        OracleSignature[] memory signatures,
        AccountVector memory account,
        OutcomeVector memory outcome,
        string memory what
    ) private {
        _submit(signatures);
        int256 liquidity = pool.liquidity() + pool.lpsPnl();
        assertEq(outcome.perSymbol.length, account.positions.length, string.concat(what, "rows"));
        for (uint256 i = 0; i < account.positions.length; i++) {
            PositionVector memory position = account.positions[i];
            address symbol = address(symbolOf[keccak256(bytes(position.symbol))]);
            vm.prank(address(manager));
            SymbolSettlement memory s = ISymbol(symbol).settleOnLiquidate(account.pTokenId, liquidity);
            int256[] memory row = _row(s);
            assertEq(outcome.perSymbol[i].length, ROW, string.concat(what, "row length"));
            for (uint256 j = 0; j < ROW; j++) {
                string memory field = string.concat(what, position.symbol, " field ", vm.toString(j));
                assertEq(row[j], outcome.perSymbol[i][j], field);
            }
        }
    }

    function _row(SymbolSettlement memory s) private pure returns (int256[] memory row) {
        row = new int256[](ROW);
        row[0] = s.funding;
        row[1] = s.deltaTradersPnl;
        row[2] = s.deltaInitialMarginRequired;
        row[3] = s.indexPrice;
        row[4] = s.traderFunding;
        row[5] = s.traderPnl;
        row[6] = s.traderMaintenanceMarginRequired;
        row[7] = s.tradeVolume;
        row[8] = s.tradeCost;
        row[9] = s.tradeRealizedCost;
    }

    /// The account as a whole: what the manager answers, and the margin.
    function _checkSums(
        OracleSignature[] memory signatures,
        AccountVector memory account,
        OutcomeVector memory outcome,
        string memory what
    ) private {
        _submit(signatures);
        int256 liquidity = pool.liquidity() + pool.lpsPnl();
        vm.prank(address(pool));
        AccountSettlement memory s = manager.settleSymbolsOnLiquidate(account.pTokenId, liquidity);
        SettlementVector memory e = outcome.settlement;
        assertEq(s.funding, e.funding, string.concat(what, "funding"));
        assertEq(s.deltaTradersPnl, e.deltaTradersPnl, string.concat(what, "deltaTradersPnl"));
        assertEq(s.traderFunding, e.traderFunding, string.concat(what, "traderFunding"));
        assertEq(s.traderPnl, e.traderPnl, string.concat(what, "traderPnl"));
        assertEq(s.traderMaintenanceMarginRequired, e.traderMaintenanceMarginRequired, string.concat(what, "mm"));
        assertEq(s.traderRealizedCost, e.traderRealizedCost, string.concat(what, "realizedCost"));

        (address vault, int256 amountB0) = pool.tdInfos(account.pTokenId);
        uint256 vaultLiquidity = vault == address(0) ? 0 : IVault(vault).getVaultLiquidity();
        assertEq(vaultLiquidity, outcome.vaultLiquidityAtExec, string.concat(what, "vault liquidity"));
        assertEq(amountB0 - s.traderFunding + int256(vaultLiquidity), outcome.margin, string.concat(what, "margin"));
    }

    function _checkLiquidation(
        Snapshot memory snapshot,
        AccountVector memory account,
        OutcomeVector memory outcome,
        string memory what
    ) private returns (uint256 gas) {
        uint256 reward;
        string memory reason;
        (reward, reason, gas) = _liquidate(snapshot, outcome.pTokenId);
        assertEq(reason, outcome.revertReason, string.concat(what, "revert"));
        assertTrue((bytes(reason).length == 0) == outcome.liquidatable, string.concat(what, "liquidatable"));
        if (!outcome.liquidatable) return gas;

        assertEq(reward, outcome.reward, string.concat(what, "reward"));
        assertEq(pool.lpsPnl(), outcome.lpsPnlAfter, string.concat(what, "lpsPnl"));
        assertEq(
            pool.cumulativePnlPerLiquidity(),
            outcome.cumulativePnlPerLiquidityAfter,
            string.concat(what, "cumulativePnlPerLiquidity")
        );
        (, int256 amountB0) = pool.tdInfos(outcome.pTokenId);
        assertEq(amountB0, 0, string.concat(what, "amountB0 afterwards"));
        assertEq(manager.getActiveSymbols(outcome.pTokenId).length, 0, string.concat(what, "symbols afterwards"));
        for (uint256 i = 0; i < account.positions.length; i++) {
            (int256 volume,,) = symbolOf[keccak256(bytes(account.positions[i].symbol))].positions(outcome.pTokenId);
            assertEq(volume, 0, string.concat(what, "position afterwards"));
        }
    }

    function _checkStep(Snapshot memory snapshot, StepVector memory step, string memory what) private {
        (uint256 reward, string memory reason,) = _liquidate(snapshot, step.pTokenId);
        assertEq(reason, step.revertReason, string.concat(what, "revert"));
        assertTrue((bytes(reason).length == 0) == step.liquidatable, string.concat(what, "liquidatable"));
        assertEq(reward, step.reward, string.concat(what, "reward"));
    }

    /// By the first recorded liquidator, who produced the outcomes.
    function _liquidate(Snapshot memory snapshot, uint256 pTokenId)
        private
        returns (uint256 reward, string memory reason, uint256 gas)
    {
        address liquidator = snapshot.privileger.liquidators[0].account;
        bytes memory data = abi.encodeCall(pool.liquidate, (pTokenId, snapshot.signatures));
        uint256 before = tokenB0.balanceOf(liquidator);
        vm.prank(liquidator);
        gas = gasleft();
        (bool success, bytes memory answer) = address(pool).call(data);
        gas -= gasleft();
        reward = tokenB0.balanceOf(liquidator) - before;
        if (!success) reason = reasonOf(answer);
    }

    function _submit(OracleSignature[] memory signatures) private {
        for (uint256 i = 0; i < signatures.length; i++) {
            OracleSignature memory o = signatures[i];
            oracleManager.updateValue(o.oracleSymbolId, o.timestamp, o.value, o.v, o.r, o.s);
        }
    }

    function _account(Snapshot memory snapshot, uint256 pTokenId) private pure returns (AccountVector memory) {
        for (uint256 i = 0; i < snapshot.accounts.length; i++) {
            if (snapshot.accounts[i].pTokenId == pTokenId) return snapshot.accounts[i];
        }
        revert("an outcome without an account");
    }
}
