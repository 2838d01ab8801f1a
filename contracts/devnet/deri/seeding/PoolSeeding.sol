// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {OracleSignature} from "../../../interfaces/deri/IOracleManager.sol";
import {AccountSettlement} from "../../../interfaces/deri/ISymbolManager.sol";
import {IVault} from "../../../interfaces/deri/IVault.sol";
import {PoolBase} from "../pool/PoolBase.sol";
import {PoolImplementation} from "../pool/PoolImplementation.sol";
import {PoolImplementationLite} from "../pool/PoolImplementationLite.sol";
import {SeedableSymbolManager} from "./SymbolManagerSeeding.sol";

/// Devnet only, no part of the protocol: writes many accounts with positions at once, which by `addMargin` and
/// `trade` would take hours of block space. Works with `SeedableSymbolManager` and symbols that are `SymbolSeeding`.
///
/// What trades keep true stays true: the symbols' sums and counts, the order of active symbols, and the pool's
/// books (all symbols are settled before and after, so the positions' PnL at the moment of seeding is the pool's).
/// The events are those of real accounts: `Transfer` and `AddMargin` for the pToken, `Trade` (with no fee) for each
/// position. What is not checked: initial margin, the price-shift guard, minimum trade volumes.
///
/// Afterwards the proxies may be given the plain implementations; the state is the same.
abstract contract PoolSeeding is PoolBase {
    using SafeERC20 for IERC20Metadata;

    struct SeedPosition {
        bytes32 symbolId;
        int256 volume;
        int256 cost;
    }

    /// `amountB0` is paid by the admin, in B0's decimals.
    struct SeedAccount {
        address owner;
        uint256 amountB0;
        SeedPosition[] positions;
    }

    /// Owners must not have a pToken yet; there must be liquidity; every symbol's oracle must be fresh, by what is
    /// on chain or by the signatures. Several calls may follow one another.
    function seed(SeedAccount[] calldata accounts, OracleSignature[] memory oracleSignatures)
        external
        onlyAdmin
        locked
    {
        _updateOracles(oracleSignatures);
        SeedableSymbolManager manager = SeedableSymbolManager(address(symbolManager));
        manager.openSymbols(liquidity + lpsPnl);
        _settleSymbols();

        uint256 total;
        for (uint256 i = 0; i < accounts.length; i++) {
            SeedAccount calldata account = accounts[i];
            uint256 pTokenId = pToken.mint(account.owner);
            int256 amountB0 = _fromTokens(account.amountB0);
            tdInfos[pTokenId].amountB0 = amountB0;
            total += account.amountB0;
            emit AddMargin(pTokenId, tokenB0, account.amountB0, amountB0);
            for (uint256 j = 0; j < account.positions.length; j++) {
                SeedPosition calldata p = account.positions[j];
                manager.seed(pTokenId, p.symbolId, p.volume, p.cost);
            }
        }
        IERC20Metadata(tokenB0).safeTransferFrom(msg.sender, address(this), total);
        _settleSymbols();
    }

    function _settleSymbols() private {
        AccountSettlement memory s = symbolManager.settleSymbolsOnRemoveLiquidity(liquidity + lpsPnl);
        _distribute(s.funding - s.deltaTradersPnl);
    }
}

contract SeedablePoolLite is PoolImplementationLite, PoolSeeding {
    constructor(Parts memory parts, Rules memory rules) PoolImplementationLite(parts, rules) {}
}

contract SeedablePool is PoolImplementation, PoolSeeding {
    using SafeERC20 for IERC20Metadata;

    constructor(Parts memory parts, Rules memory rules, VaultParts memory vaults)
        PoolImplementation(parts, rules, vaults)
    {}

    /// After `seed`, which leaves a full pool's accounts without vaults: gives each account one and puts `amounts` of
    /// `underlying`, paid by the admin, into it. B0 goes into the vault whole; `seed` has set what is at hand.
    /// An amount of zero opens an empty vault. Every account of a full pool needs one before it can be liquidated.
    function seedVaults(uint256[] calldata pTokenIds, address underlying, uint256[] calldata amounts)
        external
        payable
        onlyAdmin
        locked
    {
        for (uint256 i = 0; i < pTokenIds.length; i++) {
            address vault = _traderVault(pTokenIds[i]);
            if (underlying == address(0)) {
                IVault(vault).mint{value: amounts[i]}(markets[underlying], amounts[i]);
            } else {
                IERC20Metadata(underlying).safeTransferFrom(msg.sender, vault, amounts[i]);
                IVault(vault).mint(markets[underlying], amounts[i]);
            }
            int256 margin = _vaultLiquidity(vault) + tdInfos[pTokenIds[i]].amountB0;
            emit AddMargin(pTokenIds[i], underlying, amounts[i], margin);
        }
    }
}
