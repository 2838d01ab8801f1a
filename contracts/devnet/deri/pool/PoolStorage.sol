// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ProxyStorage} from "../proxy/ProxyStorage.sol";

abstract contract PoolStorage is ProxyStorage {
    struct LpInfo {
        address vault;
        int256 amountB0;
        int256 liquidity;
        int256 cumulativePnlPerLiquidity;
    }

    struct TdInfo {
        address vault;
        int256 amountB0;
    }

    bool internal _entered;

    address public protocolFeeCollector;

    int256 public liquidity;
    int256 public lpsPnl;
    int256 public cumulativePnlPerLiquidity;
    int256 public protocolFeeAccrued;

    mapping(uint256 lTokenId => LpInfo) public lpInfos;
    mapping(uint256 pTokenId => TdInfo) public tdInfos;
}
