// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {OracleManager} from "../../../devnet/deri/oracle/OracleManager.sol";
import {Comptroller, LendingPrices} from "../../../devnet/deri/lending/Comptroller.sol";
import {PoolBase} from "../../../devnet/deri/pool/PoolBase.sol";
import {PoolImplementation} from "../../../devnet/deri/pool/PoolImplementation.sol";
import {Proxy} from "../../../devnet/deri/proxy/Proxy.sol";
import {Swapper} from "../../../devnet/deri/swap/Swapper.sol";
import {Symbol} from "../../../devnet/deri/symbol/Symbol.sol";
import {SymbolImplementation} from "../../../devnet/deri/symbol/SymbolImplementation.sol";
import {SymbolImplementationOption} from "../../../devnet/deri/symbol/SymbolImplementationOption.sol";
import {SymbolStorage} from "../../../devnet/deri/symbol/SymbolStorage.sol";
import {DevToken} from "../../../devnet/deri/token/DevToken.sol";
import {DToken} from "../../../devnet/deri/token/DToken.sol";
import {VaultImplementation} from "../../../devnet/deri/vault/VaultImplementation.sol";
import {Test} from "../../Test.sol";
import {
    LoadableFutures,
    LoadableMarket,
    LoadableOption,
    LoadableOracle,
    LoadablePool,
    LoadablePoolFull,
    LoadablePoolLite,
    LoadablePower,
    LoadablePrivileger,
    LoadableSymbol,
    LoadableSymbolManager
} from "./Loadable.sol";
import {
    AccountVector,
    FUTURES,
    LiquidatorVector,
    MarketVector,
    OPTION,
    OracleVector,
    PositionVector,
    PoolVector,
    PrivilegerVector,
    RedemptionVector,
    Snapshot,
    SymbolVector
} from "./Vectors.sol";

/// Deploys the devnet's contracts with a snapshot's parameters and loads its state into them.
abstract contract RecordedWorld is Test {
    DevToken internal tokenB0;
    OracleManager internal oracleManager;
    LoadablePrivileger internal privileger;
    LoadableSymbolManager internal manager;
    PoolBase internal pool;
    DToken internal pToken;

    Comptroller internal comptroller;
    VaultImplementation internal vaultImplementation;

    mapping(bytes32 nameHash => LoadableSymbol) internal symbolOf;
    /// By the addresses of the record.
    mapping(address recorded => LoadableMarket) internal marketOf;
    mapping(address recorded => MarketVector) internal marketVectorOf;

    function build(Snapshot memory snapshot) internal {
        vm.roll(snapshot.execNumber);
        vm.warp(snapshot.execTimestamp);
        tokenB0 = new DevToken("B0", "B0", uint8(snapshot.pool.decimalsB0));
        _buildOracles(snapshot.oracles);
        _buildPrivileger(snapshot.privileger);
        _buildPool(snapshot);
        _buildSymbols(snapshot.symbols);
        for (uint256 i = 0; i < snapshot.accounts.length; i++) {
            _loadAccount(snapshot.accounts[i], snapshot.full);
        }
    }

    /// A redemption accrues interest first: sets what each market then pays to what was recorded.
    function expectRedemptions(AccountVector memory account, RedemptionVector[] memory redemptions) internal {
        for (uint256 i = 0; i < account.vault.length; i++) {
            uint256 vTokens = account.vault[i].vTokenBalance;
            if (vTokens == 0) continue;
            MarketVector memory market = marketVectorOf[account.vault[i].vToken];
            uint256 redeemed;
            for (uint256 j = 0; j < redemptions.length; j++) {
                if (redemptions[j].underlying == market.underlying) redeemed = redemptions[j].redeemed;
            }
            uint256 rate = (redeemed * 1e18 + vTokens - 1) / vTokens;
            marketOf[account.vault[i].vToken].loadRates(market.exchangeRateStored, rate);
        }
    }

    function _buildOracles(OracleVector[] memory oracles) private {
        oracleManager = new OracleManager();
        for (uint256 i = 0; i < oracles.length; i++) {
            OracleVector memory o = oracles[i];
            LoadableOracle oracle = new LoadableOracle(o.symbol, o.signer, o.delayAllowance);
            oracle.load(o.value, o.timestamp);
            oracleManager.setOracle(address(oracle));
        }
    }

    function _buildPrivileger(PrivilegerVector memory p) private {
        DevToken deri = new DevToken("Deri", "DERI", 18);
        privileger = LoadablePrivileger(_proxied(address(new LoadablePrivileger(address(deri), p.minLockTime))));
        privileger.load(p.stakesTotal, p.stakesCount);
        for (uint256 i = 0; i < p.liquidators.length; i++) {
            LiquidatorVector memory l = p.liquidators[i];
            privileger.loadStake(l.account, l.stake, l.stakeTimestamp);
        }
    }

    function _buildPool(Snapshot memory snapshot) private {
        Proxy poolProxy = new Proxy();
        Proxy managerProxy = new Proxy();
        managerProxy.setImplementation(address(new LoadableSymbolManager(address(poolProxy))));
        manager = LoadableSymbolManager(address(managerProxy));
        manager.load(snapshot.pool.symbolManagerInitialMarginRequired);
        pToken = new DToken("pToken", "P", address(poolProxy));

        PoolBase.Parts memory parts = PoolBase.Parts({
            tokenB0: address(tokenB0),
            lToken: address(0),
            pToken: address(pToken),
            oracleManager: address(oracleManager),
            symbolManager: address(manager),
            privileger: address(privileger)
        });
        PoolVector memory p = snapshot.pool;
        PoolBase.Rules memory rules = PoolBase.Rules({
            poolInitialMarginMultiplier: p.poolInitialMarginMultiplier,
            protocolFeeCollectRatio: p.protocolFeeCollectRatio,
            minLiquidationReward: p.minLiquidationReward,
            maxLiquidationReward: p.maxLiquidationReward,
            liquidationRewardCutRatio: p.liquidationRewardCutRatio
        });
        if (snapshot.full) {
            PoolImplementation.VaultParts memory vaults =
                _buildMarkets(snapshot.markets, address(poolProxy), p.vaultLiquidityMultiplier);
            poolProxy.setImplementation(address(new LoadablePoolFull(parts, rules, vaults)));
        } else {
            poolProxy.setImplementation(address(new LoadablePoolLite(parts, rules)));
        }
        pool = PoolBase(address(poolProxy));
        LoadablePool(address(poolProxy)).load(p);
        tokenB0.mint(address(pool), 1e40);
    }

    function _buildMarkets(MarketVector[] memory markets, address pool_, uint256 multiplier)
        private
        returns (PoolImplementation.VaultParts memory vaults)
    {
        comptroller = new Comptroller();
        LendingPrices prices = new LendingPrices();
        comptroller.setPriceOracle(address(prices));
        uint256 maxSlippage;
        for (uint256 i = 0; i < markets.length; i++) {
            if (markets[i].swapMaxSlippage > 0) maxSlippage = markets[i].swapMaxSlippage;
        }
        Swapper swapper = new Swapper(address(tokenB0), address(oracleManager), maxSlippage);
        vaults.swapper = address(swapper);

        for (uint256 i = 0; i < markets.length; i++) {
            MarketVector memory m = markets[i];
            address underlying = _underlying(m);
            LoadableMarket vToken = new LoadableMarket(address(comptroller), underlying);
            if (underlying == address(0)) {
                vm.deal(address(vToken), 1e40);
                vaults.vTokenETH = address(vToken);
            } else {
                DevToken(underlying).mint(address(vToken), 1e40);
                if (m.isB0) vaults.vTokenB0 = address(vToken);
            }
            vToken.loadRates(m.exchangeRateStored, m.exchangeRateStored);
            prices.setPrice(address(vToken), m.venusPrice);
            comptroller.setMarket(address(vToken), m.collateralFactor);
            if (!m.isB0) swapper.setPair(underlying, m.swapPrice, m.swapFeeBps, keccak256(bytes(m.swapOracle)));
            marketOf[m.vToken] = vToken;
            marketVectorOf[m.vToken] = m;
        }
        vaultImplementation = new VaultImplementation(pool_, address(comptroller), vaults.vTokenETH, multiplier);
        vaults.vaultImplementation = address(vaultImplementation);
    }

    function _underlying(MarketVector memory m) private returns (address) {
        if (m.isB0) return address(tokenB0);
        return m.underlying == address(0) ? address(0) : address(new DevToken("Collateral", "COLL", 18));
    }

    function _buildSymbols(SymbolVector[] memory symbols) private {
        for (uint256 i = 0; i < symbols.length; i++) {
            Symbol proxy = new Symbol(symbols[i].name);
            proxy.setImplementation(_symbolImplementation(symbols[i]));
            manager.addSymbol(address(proxy));
            LoadableSymbol symbol = LoadableSymbol(address(proxy));
            symbol.load(symbols[i].state);
            symbolOf[keccak256(bytes(symbols[i].name))] = symbol;
        }
    }

    function _symbolImplementation(SymbolVector memory s) private returns (address) {
        SymbolImplementation.Terms memory terms = SymbolImplementation.Terms({
            alpha: s.alpha,
            fundingPeriod: s.fundingPeriod,
            minTradeVolume: s.minTradeVolume,
            initialMarginRatio: s.initialMarginRatio,
            maintenanceMarginRatio: s.maintenanceMarginRatio,
            pricePercentThreshold: s.pricePercentThreshold,
            timeThreshold: s.timeThreshold,
            startingPriceShiftLimit: s.startingPriceShiftLimit,
            isCloseOnly: s.isCloseOnly
        });
        (address manager_, address oracles) = (address(manager), address(oracleManager));
        if (s.kind == FUTURES) return address(new LoadableFutures(manager_, oracles, terms, s.feeRatio));
        if (s.kind == OPTION) {
            SymbolImplementationOption.OptionTerms memory option = SymbolImplementationOption.OptionTerms({
                priceId: s.priceId,
                volatilityId: s.volatilityId,
                strikePrice: s.strikePrice,
                isCall: s.isCall,
                feeRatioITM: s.feeRatioITM,
                feeRatioOTM: s.feeRatioOTM,
                minInitialMarginRatio: s.minInitialMarginRatio
            });
            return address(new LoadableOption(manager_, oracles, terms, option));
        }
        return address(new LoadablePower(manager_, oracles, terms, s.priceId, s.volatilityId, s.feeRatio));
    }

    function _loadAccount(AccountVector memory a, bool full) private {
        if (!a.exists) return;
        while (pToken.totalMinted() + 1 < a.pTokenId) _mint(address(uint160(0xfee1) + uint160(pToken.totalMinted())));
        _mint(a.owner);

        address vault = LoadablePool(address(pool))
            .loadTrader(a.pTokenId, a.amountB0, full ? address(vaultImplementation) : address(0));
        for (uint256 i = 0; i < a.vault.length; i++) {
            LoadableMarket market = marketOf[a.vault[i].vToken];
            market.load(vault, a.vault[i].vTokenBalance);
            address[] memory entered = new address[](1);
            entered[0] = address(market);
            vm.prank(vault);
            comptroller.enterMarkets(entered);
        }
        for (uint256 i = 0; i < a.positions.length; i++) {
            PositionVector memory p = a.positions[i];
            LoadableSymbol symbol = symbolOf[keccak256(bytes(p.symbol))];
            symbol.loadPosition(a.pTokenId, SymbolStorage.Position(p.volume, p.cost, p.cumulativeFundingPerVolume));
            manager.loadActiveSymbol(a.pTokenId, address(symbol));
        }
    }

    function _mint(address owner) private {
        vm.prank(address(pool));
        pToken.mint(owner);
    }

    function _proxied(address implementation) private returns (address) {
        Proxy proxy = new Proxy();
        proxy.setImplementation(implementation);
        return address(proxy);
    }
}
