// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {VToken} from "../../../devnet/deri/lending/VToken.sol";
import {OracleOffChain} from "../../../devnet/deri/oracle/OracleOffChain.sol";
import {PoolBase} from "../../../devnet/deri/pool/PoolBase.sol";
import {PoolImplementation} from "../../../devnet/deri/pool/PoolImplementation.sol";
import {PoolImplementationLite} from "../../../devnet/deri/pool/PoolImplementationLite.sol";
import {PrivilegerImplementation} from "../../../devnet/deri/privileger/PrivilegerImplementation.sol";
import {SymbolImplementation} from "../../../devnet/deri/symbol/SymbolImplementation.sol";
import {SymbolImplementationFutures} from "../../../devnet/deri/symbol/SymbolImplementationFutures.sol";
import {SymbolImplementationOption} from "../../../devnet/deri/symbol/SymbolImplementationOption.sol";
import {SymbolImplementationPower} from "../../../devnet/deri/symbol/SymbolImplementationPower.sol";
import {SymbolManagerImplementation} from "../../../devnet/deri/symbol/SymbolManagerImplementation.sol";
import {PoolVector, SymbolState} from "./Vectors.sol";

// The devnet's contracts with one thing more: their state can be set. What they do with it is untouched.

abstract contract LoadableSymbol is SymbolImplementation {
    function load(SymbolState calldata state) external {
        netVolume = state.netVolume;
        netCost = state.netCost;
        indexPrice = state.indexPrice;
        fundingTimestamp = state.fundingTimestamp;
        cumulativeFundingPerVolume = state.cumulativeFundingPerVolume;
        tradersPnl = state.tradersPnl;
        initialMarginRequired = state.initialMarginRequired;
        nPositionHolders = state.nPositionHolders;
        lastNetVolume = state.lastNetVolume;
        lastNetVolumeBlock = state.lastNetVolumeBlock;
    }

    function loadPosition(uint256 pTokenId, Position calldata position) external {
        positions[pTokenId] = position;
    }
}

contract LoadableFutures is SymbolImplementationFutures, LoadableSymbol {
    constructor(address manager_, address oracleManager_, Terms memory terms, int256 feeRatio_)
        SymbolImplementationFutures(manager_, oracleManager_, terms, feeRatio_)
    {}
}

contract LoadableOption is SymbolImplementationOption, LoadableSymbol {
    constructor(address manager_, address oracleManager_, Terms memory terms, OptionTerms memory option)
        SymbolImplementationOption(manager_, oracleManager_, terms, option)
    {}
}

contract LoadablePower is SymbolImplementationPower, LoadableSymbol {
    constructor(
        address manager_,
        address oracleManager_,
        Terms memory terms,
        bytes32 priceId_,
        bytes32 volatilityId_,
        int256 feeRatio_
    ) SymbolImplementationPower(manager_, oracleManager_, terms, priceId_, volatilityId_, feeRatio_) {}
}

contract LoadableSymbolManager is SymbolManagerImplementation {
    constructor(address pool_) SymbolManagerImplementation(pool_) {}

    function load(int256 initialMarginRequired_) external {
        initialMarginRequired = initialMarginRequired_;
    }

    function loadActiveSymbol(uint256 pTokenId, address symbol) external {
        _activeSymbols[pTokenId].push(symbol);
    }
}

abstract contract LoadablePool is PoolBase {
    function load(PoolVector calldata state) external {
        liquidity = state.liquidity;
        lpsPnl = state.lpsPnl;
        cumulativePnlPerLiquidity = state.cumulativePnlPerLiquidity;
        protocolFeeAccrued = state.protocolFeeAccrued;
    }

    function loadTrader(uint256 pTokenId, int256 amountB0, address vaultImplementation_)
        external
        returns (address vault)
    {
        if (vaultImplementation_ != address(0)) vault = Clones.clone(vaultImplementation_);
        tdInfos[pTokenId] = TdInfo(vault, amountB0);
    }
}

contract LoadablePoolLite is PoolImplementationLite, LoadablePool {
    constructor(Parts memory parts, Rules memory rules) PoolImplementationLite(parts, rules) {}
}

contract LoadablePoolFull is PoolImplementation, LoadablePool {
    constructor(Parts memory parts, Rules memory rules, VaultParts memory vaults)
        PoolImplementation(parts, rules, vaults)
    {}
}

contract LoadablePrivileger is PrivilegerImplementation {
    constructor(address deri_, uint256 minLockTime_) PrivilegerImplementation(deri_, minLockTime_, 0) {}

    function load(uint256 total, uint256 count) external {
        stakesTotal[deri] = total;
        stakesCount[deri] = count;
    }

    function loadStake(address user, uint256 stake, uint256 timestamp) external {
        stakes[deri][user] = stake;
        stakeTimestamps[deri][user] = timestamp;
    }
}

contract LoadableOracle is OracleOffChain {
    constructor(string memory symbol_, address signer_, uint256 delayAllowance_)
        OracleOffChain(symbol_, signer_, delayAllowance_)
    {}

    function load(uint256 value_, uint256 timestamp_) external {
        value = value_;
        timestamp = timestamp_;
    }
}

/// Interest is not modelled here but taken from the record: the rate before and after it accrues.
contract LoadableMarket is VToken {
    uint256 private _rateStored;
    uint256 private _rateAccrued;

    constructor(address comptroller_, address underlying_) VToken(comptroller_, underlying_, 0) {}

    function load(address account, uint256 vTokens) external {
        totalSupply += vTokens;
        balanceOf[account] = vTokens;
    }

    function loadRates(uint256 stored, uint256 accrued) external {
        _rateStored = stored;
        _rateAccrued = accrued;
    }

    function exchangeRateStored() public view override returns (uint256) {
        return _rateStored;
    }

    function accrueInterest() public override returns (uint256) {
        _rateStored = _rateAccrued;
        return 0;
    }
}
