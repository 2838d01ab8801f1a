// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IOracleManager} from "../../../interfaces/deri/IOracleManager.sol";
import {ISwapper} from "../../../interfaces/deri/ISwapper.sol";
import {DevToken} from "../token/DevToken.sol";

/// Stands in for a swapper over a decentralised exchange: it quotes a set price less a fee, keeps what it takes, and
/// mints the B0 it gives. Like the real one it refuses a result too far below the oracle's price.
contract Swapper is ISwapper {
    using SafeERC20 for IERC20;

    struct Pair {
        /// Raw B0 for one raw unit of the token, times 1e18.
        uint256 price;
        uint256 feeBps;
        bytes32 oracleSymbolId;
    }

    address public immutable admin = msg.sender;
    address public immutable tokenB0;
    IOracleManager public immutable oracleManager;
    uint256 public immutable maxSlippageRatio;

    /// The zero address stands for the native coin.
    mapping(address token => Pair) public pairs;

    constructor(address tokenB0_, address oracleManager_, uint256 maxSlippageRatio_) {
        tokenB0 = tokenB0_;
        oracleManager = IOracleManager(oracleManager_);
        maxSlippageRatio = maxSlippageRatio_;
    }

    function setPair(address token, uint256 price, uint256 feeBps, bytes32 oracleSymbolId) external {
        require(msg.sender == admin, "Swapper: only admin");
        pairs[token] = Pair(price, feeBps, oracleSymbolId);
    }

    function swapForB0(address token, uint256 amount) external payable returns (uint256 amountB0) {
        if (token == address(0)) amount = msg.value;
        else IERC20(token).safeTransferFrom(msg.sender, address(this), amount);

        Pair storage pair = pairs[token];
        amountB0 = amount * pair.price / 1e18 * (10000 - pair.feeBps) / 10000;
        uint256 least = amount * oraclePrice(token) / 1e18 * (1e18 - maxSlippageRatio) / 1e18;
        require(amountB0 >= least, "Swapper: slippage exceeds allowance");
        DevToken(tokenB0).mint(msg.sender, amountB0);
    }

    /// Which oracle a token's result is held against, as published swappers answer it.
    function oracleSymbolIds(address token) external view returns (bytes32) {
        return pairs[token].oracleSymbolId;
    }

    /// The oracle's reading, however old, in the same scale as a pair's price.
    function oraclePrice(address token) public view returns (uint256) {
        uint256 decimals = token == address(0) ? 18 : IERC20Metadata(token).decimals();
        uint256 reading = oracleManager.value(pairs[token].oracleSymbolId);
        return reading * 10 ** IERC20Metadata(tokenB0).decimals() / 10 ** decimals;
    }
}
