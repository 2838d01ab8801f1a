// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

/// The vault's storage, events and settings. USD values and prices carry 30 decimals, token amounts the token's own,
/// basis points are out of 10,000 and funding rates out of 1,000,000. A change of a setting emits nothing.
abstract contract VaultStorage {
    struct Position {
        uint256 size;
        uint256 collateral;
        uint256 averagePrice;
        uint256 entryFundingRate;
        uint256 reserveAmount;
        int256 realisedPnl;
        uint256 lastIncreasedTime;
    }

    uint256 public constant BASIS_POINTS_DIVISOR = 10_000;
    uint256 public constant FUNDING_RATE_PRECISION = 1_000_000;

    address public gov;
    address public vaultUtils;
    address public priceFeed;

    bool public isLeverageEnabled = true;
    bool public includeAmmPrice = true;
    bool public inPrivateLiquidationMode;
    mapping(address => bool) public isLiquidator;

    uint256 public maxLeverage = 50 * BASIS_POINTS_DIVISOR;
    uint256 public liquidationFeeUsd;
    uint256 public marginFeeBasisPoints = 10;
    uint256 public minProfitTime;
    uint256 public fundingInterval = 8 hours;
    uint256 public fundingRateFactor;
    uint256 public stableFundingRateFactor;

    address[] public allWhitelistedTokens;
    mapping(address => bool) public whitelistedTokens;
    mapping(address => uint256) public tokenDecimals;
    mapping(address => uint256) public minProfitBasisPoints;
    mapping(address => bool) public stableTokens;
    mapping(address => bool) public shortableTokens;

    /// What the vault last knew of its own balance; the difference to the real one is what came in.
    mapping(address => uint256) public tokenBalances;
    mapping(address => uint256) public poolAmounts;
    mapping(address => uint256) public reservedAmounts;
    mapping(address => uint256) public feeReserves;
    mapping(address => uint256) public guaranteedUsd;
    mapping(address => uint256) public cumulativeFundingRates;
    mapping(address => uint256) public lastFundingTimes;
    mapping(address => uint256) public globalShortSizes;
    mapping(address => uint256) public globalShortAveragePrices;

    mapping(bytes32 => Position) public positions;

    /// Revert strings by code. A vault whose table was never filled reverts with empty strings.
    mapping(uint256 => string) public errors;

    event IncreasePosition(
        bytes32 key,
        address account,
        address collateralToken,
        address indexToken,
        uint256 collateralDelta,
        uint256 sizeDelta,
        bool isLong,
        uint256 price,
        uint256 fee
    );
    event DecreasePosition(
        bytes32 key,
        address account,
        address collateralToken,
        address indexToken,
        uint256 collateralDelta,
        uint256 sizeDelta,
        bool isLong,
        uint256 price,
        uint256 fee
    );
    event LiquidatePosition(
        bytes32 key,
        address account,
        address collateralToken,
        address indexToken,
        bool isLong,
        uint256 size,
        uint256 collateral,
        uint256 reserveAmount,
        int256 realisedPnl,
        uint256 markPrice
    );
    event UpdatePosition(
        bytes32 key,
        uint256 size,
        uint256 collateral,
        uint256 averagePrice,
        uint256 entryFundingRate,
        uint256 reserveAmount,
        int256 realisedPnl,
        uint256 markPrice
    );
    event ClosePosition(
        bytes32 key,
        uint256 size,
        uint256 collateral,
        uint256 averagePrice,
        uint256 entryFundingRate,
        uint256 reserveAmount,
        int256 realisedPnl
    );
    event UpdatePnl(bytes32 key, bool hasProfit, uint256 delta);
    event UpdateFundingRate(address token, uint256 fundingRate);
    event CollectMarginFees(address token, uint256 feeUsd, uint256 feeTokens);
    event DirectPoolDeposit(address token, uint256 amount);
    event IncreasePoolAmount(address token, uint256 amount);
    event DecreasePoolAmount(address token, uint256 amount);
    event IncreaseReservedAmount(address token, uint256 amount);
    event DecreaseReservedAmount(address token, uint256 amount);
    event IncreaseGuaranteedUsd(address token, uint256 amount);
    event DecreaseGuaranteedUsd(address token, uint256 amount);

    modifier onlyGov() {
        _validate(msg.sender == gov, 53);
        _;
    }

    constructor() {
        gov = msg.sender;
    }

    function setGov(address gov_) external onlyGov {
        gov = gov_;
    }

    function setVaultUtils(address vaultUtils_) external onlyGov {
        vaultUtils = vaultUtils_;
    }

    function setPriceFeed(address priceFeed_) external onlyGov {
        priceFeed = priceFeed_;
    }

    function setError(uint256 code, string calldata text) external onlyGov {
        errors[code] = text;
    }

    function setIsLeverageEnabled(bool enabled) external onlyGov {
        isLeverageEnabled = enabled;
    }

    function setInPrivateLiquidationMode(bool isPrivate) external onlyGov {
        inPrivateLiquidationMode = isPrivate;
    }

    function setLiquidator(address liquidator, bool isActive) external onlyGov {
        isLiquidator[liquidator] = isActive;
    }

    function setMaxLeverage(uint256 maxLeverage_) external onlyGov {
        _validate(maxLeverage_ > BASIS_POINTS_DIVISOR, 2);
        maxLeverage = maxLeverage_;
    }

    function setFees(uint256 marginFeeBasisPoints_, uint256 liquidationFeeUsd_, uint256 minProfitTime_)
        external
        onlyGov
    {
        marginFeeBasisPoints = marginFeeBasisPoints_;
        liquidationFeeUsd = liquidationFeeUsd_;
        minProfitTime = minProfitTime_;
    }

    function setFundingRate(uint256 interval, uint256 factor, uint256 stableFactor) external onlyGov {
        fundingInterval = interval;
        fundingRateFactor = factor;
        stableFundingRateFactor = stableFactor;
    }

    function setTokenConfig(
        address token,
        uint256 decimals,
        uint256 minProfitBasisPoints_,
        bool isStable,
        bool isShortable
    ) external onlyGov {
        if (!whitelistedTokens[token]) {
            whitelistedTokens[token] = true;
            allWhitelistedTokens.push(token);
        }
        tokenDecimals[token] = decimals;
        minProfitBasisPoints[token] = minProfitBasisPoints_;
        stableTokens[token] = isStable;
        shortableTokens[token] = isShortable;
    }

    function allWhitelistedTokensLength() external view returns (uint256) {
        return allWhitelistedTokens.length;
    }

    function getPositionKey(address account, address collateralToken, address indexToken, bool isLong)
        public
        pure
        returns (bytes32)
    {
        return keccak256(abi.encodePacked(account, collateralToken, indexToken, isLong));
    }

    function _validate(bool condition, uint256 code) internal view {
        require(condition, errors[code]);
    }
}
