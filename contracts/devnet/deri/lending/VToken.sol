// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IComptroller, IVToken} from "../../../interfaces/deri/ILending.sol";

/// A lending market. Borrowers' interest makes each vToken worth more; it is written down only when somebody acts,
/// so `exchangeRateStored` lags behind what a redemption gives. Refusals are error codes, as Venus has them.
contract VToken is IVToken {
    using SafeERC20 for IERC20;

    uint256 internal constant REJECTED = 3;

    address public immutable comptroller;
    /// Zero for the native coin.
    address public immutable underlying;
    /// Simple interest on all that is borrowed, 18-decimal, per second.
    uint256 public immutable borrowRatePerSecond;

    uint256 public totalSupply;
    uint256 public totalBorrows;
    uint256 public borrowIndex = 1e18;
    uint256 public accrualTimestamp;

    struct Loan {
        uint256 principal;
        uint256 index;
    }

    mapping(address account => uint256) public balanceOf;
    mapping(address account => Loan) private _loans;

    event Transfer(address indexed from, address indexed to, uint256 amount);

    constructor(address comptroller_, address underlying_, uint256 borrowRatePerSecond_) {
        comptroller = comptroller_;
        underlying = underlying_;
        borrowRatePerSecond = borrowRatePerSecond_;
        accrualTimestamp = block.timestamp;
    }

    function getCash() public view returns (uint256) {
        return underlying == address(0) ? address(this).balance : IERC20(underlying).balanceOf(address(this));
    }

    function exchangeRateStored() public view virtual returns (uint256) {
        return totalSupply == 0 ? 1e18 : (getCash() + totalBorrows) * 1e18 / totalSupply;
    }

    function borrowBalanceStored(address account) public view returns (uint256) {
        Loan storage loan = _loans[account];
        return loan.principal == 0 ? 0 : loan.principal * borrowIndex / loan.index;
    }

    function accrueInterest() public virtual returns (uint256) {
        uint256 factor = borrowRatePerSecond * (block.timestamp - accrualTimestamp);
        totalBorrows += totalBorrows * factor / 1e18;
        borrowIndex += borrowIndex * factor / 1e18;
        accrualTimestamp = block.timestamp;
        return 0;
    }

    function mint(uint256 amount) external returns (uint256) {
        require(underlying != address(0), "VToken: takes the native coin");
        accrueInterest();
        uint256 rate = exchangeRateStored();
        IERC20(underlying).safeTransferFrom(msg.sender, address(this), amount);
        _mint(msg.sender, amount, rate);
        return 0;
    }

    function mint() external payable {
        require(underlying == address(0), "VToken: takes a token");
        accrueInterest();
        uint256 cashBefore = getCash() - msg.value;
        uint256 rate = totalSupply == 0 ? 1e18 : (cashBefore + totalBorrows) * 1e18 / totalSupply;
        _mint(msg.sender, msg.value, rate);
    }

    function transfer(address to, uint256 vTokens) external returns (bool) {
        if (!IComptroller(comptroller).redeemAllowed(address(this), msg.sender, vTokens)) return false;
        balanceOf[msg.sender] -= vTokens;
        balanceOf[to] += vTokens;
        emit Transfer(msg.sender, to, vTokens);
        return true;
    }

    function redeem(uint256 vTokens) external returns (uint256) {
        accrueInterest();
        return _redeem(vTokens, vTokens * exchangeRateStored() / 1e18);
    }

    function redeemUnderlying(uint256 amount) external returns (uint256) {
        accrueInterest();
        uint256 rate = exchangeRateStored();
        return _redeem((amount * 1e18 + rate - 1) / rate, amount);
    }

    /// Against the collateral in the markets the caller has entered.
    function borrow(uint256 amount) external returns (uint256) {
        accrueInterest();
        if (!IComptroller(comptroller).borrowAllowed(address(this), msg.sender, amount)) return REJECTED;
        _loans[msg.sender] = Loan(borrowBalanceStored(msg.sender) + amount, borrowIndex);
        totalBorrows += amount;
        _pay(msg.sender, amount);
        return 0;
    }

    function _mint(address account, uint256 amount, uint256 rate) private {
        uint256 vTokens = amount * 1e18 / rate;
        totalSupply += vTokens;
        balanceOf[account] += vTokens;
        emit Transfer(address(0), account, vTokens);
    }

    function _redeem(uint256 vTokens, uint256 amount) private returns (uint256) {
        if (vTokens > balanceOf[msg.sender] || amount > getCash()) return REJECTED;
        if (!IComptroller(comptroller).redeemAllowed(address(this), msg.sender, vTokens)) return REJECTED;
        balanceOf[msg.sender] -= vTokens;
        totalSupply -= vTokens;
        emit Transfer(msg.sender, address(0), vTokens);
        _pay(msg.sender, amount);
        return 0;
    }

    function _pay(address to, uint256 amount) private {
        if (underlying == address(0)) {
            (bool sent,) = to.call{value: amount}("");
            require(sent, "VToken: payment refused");
        } else {
            IERC20(underlying).safeTransfer(to, amount);
        }
    }
}
