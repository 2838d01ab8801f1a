// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IComptroller, IPriceOracle, IVToken} from "../../../interfaces/deri/ILending.sol";

/// Prices of the lending protocol. On a devnet anybody may set them.
contract LendingPrices is IPriceOracle {
    mapping(address vToken => uint256) public getUnderlyingPrice;

    function setPrice(address vToken, uint256 price) external {
        getUnderlyingPrice[vToken] = price;
    }
}

/// What an account's collateral lets it borrow. Figures are 18-decimal.
contract Comptroller is IComptroller {
    struct Market {
        bool isListed;
        uint256 collateralFactorMantissa;
        bool isVenus;
    }

    address public immutable admin = msg.sender;
    address public oracle;

    mapping(address vToken => Market) public markets;
    mapping(address account => address[]) private _assetsIn;
    mapping(address account => mapping(address vToken => bool)) public checkMembership;

    event MarketEntered(address vToken, address account);
    event MarketExited(address vToken, address account);
    event NewCollateralFactor(address vToken, uint256 oldCollateralFactor, uint256 newCollateralFactor);
    event NewPriceOracle(address oldPriceOracle, address newPriceOracle);

    modifier onlyAdmin() {
        require(msg.sender == admin, "Comptroller: only admin");
        _;
    }

    function setPriceOracle(address oracle_) external onlyAdmin {
        emit NewPriceOracle(oracle, oracle_);
        oracle = oracle_;
    }

    function setMarket(address vToken, uint256 collateralFactor) external onlyAdmin {
        emit NewCollateralFactor(vToken, markets[vToken].collateralFactorMantissa, collateralFactor);
        markets[vToken] = Market(true, collateralFactor, true);
    }

    function enterMarkets(address[] calldata vTokens) external returns (uint256[] memory failures) {
        failures = new uint256[](vTokens.length);
        for (uint256 i = 0; i < vTokens.length; i++) {
            if (!markets[vTokens[i]].isListed) {
                failures[i] = 9;
            } else if (!checkMembership[msg.sender][vTokens[i]]) {
                checkMembership[msg.sender][vTokens[i]] = true;
                _assetsIn[msg.sender].push(vTokens[i]);
                emit MarketEntered(vTokens[i], msg.sender);
            }
        }
    }

    /// Only with nothing borrowed there, and not if what is left would be too little.
    function exitMarket(address vToken) external returns (uint256) {
        uint256 vTokens = IVToken(vToken).balanceOf(msg.sender);
        if (IVToken(vToken).borrowBalanceStored(msg.sender) != 0 || !redeemAllowed(vToken, msg.sender, vTokens)) {
            return 12;
        }
        if (!checkMembership[msg.sender][vToken]) return 0;
        checkMembership[msg.sender][vToken] = false;
        address[] storage assets = _assetsIn[msg.sender];
        for (uint256 i = 0; i < assets.length; i++) {
            if (assets[i] == vToken) assets[i] = assets[assets.length - 1];
        }
        assets.pop();
        emit MarketExited(vToken, msg.sender);
        return 0;
    }

    function getAssetsIn(address account) external view returns (address[] memory) {
        return _assetsIn[account];
    }

    function getAccountLiquidity(address account) external view returns (uint256, uint256, uint256) {
        (uint256 collateral, uint256 debt) = _value(account, address(0), 0, 0);
        if (collateral < debt) return (0, 0, debt - collateral);
        return (0, collateral - debt, 0);
    }

    function redeemAllowed(address vToken, address account, uint256 vTokens) public view returns (bool) {
        if (!checkMembership[account][vToken]) return true;
        (uint256 collateral, uint256 debt) = _value(account, vToken, vTokens, 0);
        return collateral >= debt;
    }

    function borrowAllowed(address vToken, address account, uint256 amount) external view returns (bool) {
        if (!checkMembership[account][vToken]) return false;
        (uint256 collateral, uint256 debt) = _value(account, vToken, 0, amount);
        return collateral >= debt;
    }

    /// The account's collateral and debt if it redeemed and borrowed so much more at `changed`.
    function _value(address account, address changed, uint256 redeemed, uint256 borrowed)
        private
        view
        returns (uint256 collateral, uint256 debt)
    {
        address[] storage assets = _assetsIn[account];
        for (uint256 i = 0; i < assets.length; i++) {
            IVToken vToken = IVToken(assets[i]);
            uint256 price = IPriceOracle(oracle).getUnderlyingPrice(assets[i]);
            uint256 unit =
                markets[assets[i]].collateralFactorMantissa * vToken.exchangeRateStored() / 1e18 * price / 1e18;
            collateral += vToken.balanceOf(account) * unit / 1e18;
            debt += vToken.borrowBalanceStored(account) * price / 1e18;
            if (assets[i] == changed) debt += redeemed * unit / 1e18 + borrowed * price / 1e18;
        }
    }
}
