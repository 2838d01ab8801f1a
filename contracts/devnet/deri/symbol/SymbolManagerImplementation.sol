// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ISymbol, SymbolSettlement} from "../../../interfaces/deri/ISymbol.sol";
import {AccountSettlement} from "../../../interfaces/deri/ISymbolManager.sol";
import {NameVersion} from "../proxy/NameVersion.sol";
import {SymbolManagerStorage} from "./SymbolManagerStorage.sol";

/// Keeps which symbols there are and which of them an account holds, and settles them for the pool. Answers
/// `ISymbolManager`.
contract SymbolManagerImplementation is SymbolManagerStorage, NameVersion {
    event AddSymbol(bytes32 indexed symbolId, address indexed symbol);
    event RemoveSymbol(bytes32 indexed symbolId, address indexed symbol);
    /// `tradeFee` is -1 when the position was closed by a liquidation.
    event Trade(
        uint256 indexed pTokenId,
        bytes32 indexed symbolId,
        int256 indexPrice,
        int256 tradeVolume,
        int256 tradeCost,
        int256 tradeFee
    );

    address public immutable pool;

    modifier onlyPool() {
        require(msg.sender == pool, "SymbolManagerImplementation: only pool");
        _;
    }

    constructor(address pool_) NameVersion("SymbolManagerImplementation", "3.0.2") {
        pool = pool_;
    }

    function getSymbolsLength() external view returns (uint256) {
        return indexedSymbols.length;
    }

    function getActiveSymbols(uint256 pTokenId) external view returns (address[] memory) {
        return _activeSymbols[pTokenId];
    }

    function addSymbol(address symbol) external onlyAdmin {
        bytes32 symbolId = ISymbol(symbol).symbolId();
        require(symbols[symbolId] == address(0), "SymbolManagerImplementation.addSymbol: symbol exists");
        require(
            ISymbol(symbol).manager() == address(this),
            "SymbolManagerImplementation.addSymbol: symbol of another manager"
        );
        symbols[symbolId] = symbol;
        indexedSymbols.push(symbol);
        emit AddSymbol(symbolId, symbol);
    }

    function removeSymbol(bytes32 symbolId) external onlyAdmin {
        address symbol = symbols[symbolId];
        require(symbol != address(0), "SymbolManagerImplementation.removeSymbol: symbol does not exist");
        require(
            ISymbol(symbol).nPositionHolders() == 0, "SymbolManagerImplementation.removeSymbol: symbol has positions"
        );
        delete symbols[symbolId];
        _remove(indexedSymbols, symbol);
        emit RemoveSymbol(symbolId, symbol);
    }

    function settleSymbolsOnAddLiquidity(int256 liquidity) external onlyPool returns (AccountSettlement memory ss) {
        _settleAll(liquidity, true, ss);
    }

    function settleSymbolsOnRemoveLiquidity(int256 liquidity) external onlyPool returns (AccountSettlement memory ss) {
        _settleAll(liquidity, false, ss);
    }

    function settleSymbolsOnRemoveMargin(uint256 pTokenId, int256 liquidity)
        external
        onlyPool
        returns (AccountSettlement memory ss)
    {
        address[] storage active = _activeSymbols[pTokenId];
        for (uint256 i = 0; i < active.length; i++) {
            _add(ss, ISymbol(active[i]).settleOnHolding(pTokenId, liquidity));
        }
    }

    function settleSymbolsOnTrade(
        uint256 pTokenId,
        bytes32 symbolId,
        int256 tradeVolume,
        int256 liquidity,
        int256 priceLimit
    ) external onlyPool returns (AccountSettlement memory ss) {
        address traded = symbols[symbolId];
        require(traded != address(0), "SymbolManagerImplementation.settleSymbolsOnTrade: invalid symbol");

        address[] storage active = _activeSymbols[pTokenId];
        for (uint256 i = 0; i < active.length; i++) {
            if (active[i] != traded) _add(ss, ISymbol(active[i]).settleOnHolding(pTokenId, liquidity));
        }
        SymbolSettlement memory s = ISymbol(traded).settleOnTrade(pTokenId, tradeVolume, liquidity, priceLimit);
        _add(ss, s);
        ss.tradeFee = s.tradeFee;
        if (s.positionChangeStatus == 1) active.push(traded);
        else if (s.positionChangeStatus == -1) _remove(active, traded);

        emit Trade(pTokenId, symbolId, s.indexPrice, tradeVolume, s.tradeCost, s.tradeFee);
    }

    function settleSymbolsOnLiquidate(uint256 pTokenId, int256 liquidity)
        external
        onlyPool
        returns (AccountSettlement memory ss)
    {
        address[] memory active = _activeSymbols[pTokenId];
        for (uint256 i = 0; i < active.length; i++) {
            SymbolSettlement memory s = ISymbol(active[i]).settleOnLiquidate(pTokenId, liquidity);
            _add(ss, s);
            emit Trade(pTokenId, ISymbol(active[i]).symbolId(), s.indexPrice, s.tradeVolume, s.tradeCost, s.tradeFee);
        }
        delete _activeSymbols[pTokenId];
    }

    function _settleAll(int256 liquidity, bool lazily, AccountSettlement memory ss) private {
        for (uint256 i = 0; i < indexedSymbols.length; i++) {
            _add(ss, ISymbol(indexedSymbols[i]).settleOnLiquidity(liquidity, lazily));
        }
    }

    function _add(AccountSettlement memory ss, SymbolSettlement memory s) private {
        ss.funding += s.funding;
        ss.deltaTradersPnl += s.deltaTradersPnl;
        ss.traderFunding += s.traderFunding;
        ss.traderPnl += s.traderPnl;
        ss.traderMaintenanceMarginRequired += s.traderMaintenanceMarginRequired;
        ss.traderRealizedCost += s.tradeRealizedCost;
        ss.traderInitialMarginRequired += s.traderInitialMarginRequired;
        initialMarginRequired += s.deltaInitialMarginRequired;
    }

    /// The last element takes the removed one's place.
    function _remove(address[] storage list, address element) private {
        uint256 last = list.length - 1;
        for (uint256 i = 0; i <= last; i++) {
            if (list[i] == element) {
                list[i] = list[last];
                break;
            }
        }
        list.pop();
    }
}
