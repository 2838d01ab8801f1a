// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {OracleManager} from "../../devnet/deri/oracle/OracleManager.sol";
import {OracleOffChain} from "../../devnet/deri/oracle/OracleOffChain.sol";
import {PoolBase} from "../../devnet/deri/pool/PoolBase.sol";
import {PoolImplementationLite} from "../../devnet/deri/pool/PoolImplementationLite.sol";
import {PrivilegerImplementation} from "../../devnet/deri/privileger/PrivilegerImplementation.sol";
import {Proxy} from "../../devnet/deri/proxy/Proxy.sol";
import {Symbol} from "../../devnet/deri/symbol/Symbol.sol";
import {SymbolImplementation} from "../../devnet/deri/symbol/SymbolImplementation.sol";
import {SymbolImplementationFutures} from "../../devnet/deri/symbol/SymbolImplementationFutures.sol";
import {SymbolImplementationOption} from "../../devnet/deri/symbol/SymbolImplementationOption.sol";
import {SymbolImplementationPower} from "../../devnet/deri/symbol/SymbolImplementationPower.sol";
import {SymbolManagerImplementation} from "../../devnet/deri/symbol/SymbolManagerImplementation.sol";
import {DevToken} from "../../devnet/deri/token/DevToken.sol";
import {DToken} from "../../devnet/deri/token/DToken.sol";
import {OracleSignature} from "../../interfaces/deri/IOracleManager.sol";
import {Test} from "../Test.sol";

/// A Lite market as anybody would deploy it, with a provider, a staked liquidator, and a signer of prices.
abstract contract DeriMarket is Test {
    uint256 internal constant SIGNER_KEY = 0x51;
    uint256 internal constant DELAY_ALLOWANCE = 600;
    uint256 internal constant LOCK_TIME = 3 days;
    uint256 internal constant MIN_DEPOSIT = 10_000e18;
    int256 internal constant ANY_PRICE = type(int256).max;

    address internal constant PROVIDER = address(0x1b);
    address internal constant LIQUIDATOR = address(0x11);
    address internal constant ALICE = address(0xa1);
    address internal constant BOB = address(0xb0);
    address internal constant CAROL = address(0xca);

    event Trade(
        uint256 indexed pTokenId,
        bytes32 indexed symbolId,
        int256 indexPrice,
        int256 tradeVolume,
        int256 tradeCost,
        int256 tradeFee
    );
    event AddMargin(uint256 indexed pTokenId, address indexed underlying, uint256 amount, int256 newMargin);
    event RemoveMargin(uint256 indexed pTokenId, address indexed underlying, uint256 amount, int256 newMargin);
    event AddLiquidity(uint256 indexed lTokenId, address indexed underlying, uint256 amount, int256 newLiquidity);
    event RemoveLiquidity(uint256 indexed lTokenId, address indexed underlying, uint256 amount, int256 newLiquidity);

    DevToken internal tokenB0;
    DevToken internal deri;
    OracleManager internal oracleManager;
    PrivilegerImplementation internal privileger;
    SymbolManagerImplementation internal manager;
    DToken internal lToken;
    DToken internal pToken;

    /// Behind the proxies of the pool and the symbol manager.
    Proxy internal poolProxy;
    PoolImplementationLite internal lite;

    mapping(string name => SymbolImplementation) internal symbolOf;
    mapping(string name => OracleOffChain) internal oracleOf;

    function setUp() public virtual {
        vm.warp(1_700_000_000);
        vm.roll(1000);
        tokenB0 = new DevToken("Base", "B0", decimalsB0());
        deri = new DevToken("Deri", "DERI", 18);
        oracleManager = new OracleManager();
        privileger = PrivilegerImplementation(
            proxied(address(new PrivilegerImplementation(address(deri), LOCK_TIME, MIN_DEPOSIT)))
        );
        poolProxy = new Proxy();
        manager = SymbolManagerImplementation(proxied(address(new SymbolManagerImplementation(address(poolProxy)))));
        lToken = new DToken("Liquidity", "L", address(poolProxy));
        pToken = new DToken("Position", "P", address(poolProxy));
        lite = PoolImplementationLite(address(poolProxy));
        poolProxy.setImplementation(poolImplementation());

        addOracle("BTCUSD");
        addOracle("ETHUSD");
        addFutures("BTCUSD");
        addFutures("ETHUSD");
        setPrice("BTCUSD", 20_000e18);
        setPrice("ETHUSD", 1_000e18);
        stake(LIQUIDATOR, MIN_DEPOSIT);
        vm.warp(block.timestamp + LOCK_TIME);
        refreshPrices();
        provideLiquidity();
    }

    // ---- what a variant of the market changes

    function decimalsB0() internal pure virtual returns (uint8) {
        return 18;
    }

    function poolImplementation() internal virtual returns (address) {
        return address(new PoolImplementationLite(parts(), rules()));
    }

    function provideLiquidity() internal virtual {
        fund(PROVIDER, 1_000_000e18);
        vm.prank(PROVIDER);
        lite.addLiquidity(1_000_000e18, none());
    }

    function parts() internal view returns (PoolBase.Parts memory) {
        return PoolBase.Parts({
            tokenB0: address(tokenB0),
            lToken: address(lToken),
            pToken: address(pToken),
            oracleManager: address(oracleManager),
            symbolManager: address(manager),
            privileger: address(privileger)
        });
    }

    function rules() internal pure virtual returns (PoolBase.Rules memory) {
        return PoolBase.Rules({
            poolInitialMarginMultiplier: 10e18,
            protocolFeeCollectRatio: 0.2e18,
            minLiquidationReward: 10e18,
            maxLiquidationReward: 1000e18,
            liquidationRewardCutRatio: 0.5e18
        });
    }

    function terms() internal pure virtual returns (SymbolImplementation.Terms memory) {
        return SymbolImplementation.Terms({
            alpha: 0.1e18,
            fundingPeriod: 3 days,
            minTradeVolume: 0.001e18,
            initialMarginRatio: 0.1e18,
            maintenanceMarginRatio: 0.05e18,
            pricePercentThreshold: 0.01e18,
            timeThreshold: 1 hours,
            startingPriceShiftLimit: 0.01e18,
            isCloseOnly: false
        });
    }

    // ---- building

    function proxied(address implementation) internal returns (address) {
        Proxy proxy = new Proxy();
        proxy.setImplementation(implementation);
        return address(proxy);
    }

    function addOracle(string memory name) internal {
        oracleOf[name] = new OracleOffChain(name, vm.addr(SIGNER_KEY), DELAY_ALLOWANCE);
        oracleManager.setOracle(address(oracleOf[name]));
    }

    function addSymbol(string memory name, address implementation) internal {
        Symbol proxy = new Symbol(name);
        proxy.setImplementation(implementation);
        manager.addSymbol(address(proxy));
        symbolOf[name] = SymbolImplementation(address(proxy));
    }

    function addFutures(string memory name) internal {
        addSymbol(
            name, address(new SymbolImplementationFutures(address(manager), address(oracleManager), terms(), 0.0005e18))
        );
    }

    function addOption(string memory name, string memory underlying, int256 strike, bool isCall) internal {
        SymbolImplementationOption.OptionTerms memory option = SymbolImplementationOption.OptionTerms({
            priceId: id(underlying),
            volatilityId: id(string.concat("VOL-", underlying)),
            strikePrice: strike,
            isCall: isCall,
            feeRatioITM: 0.0015e18,
            feeRatioOTM: 0.05e18,
            minInitialMarginRatio: 0.01e18
        });
        addSymbol(
            name, address(new SymbolImplementationOption(address(manager), address(oracleManager), terms(), option))
        );
    }

    function addPower(string memory name, string memory underlying) internal {
        SymbolImplementation.Terms memory fine = terms();
        fine.minTradeVolume = 1e12;
        address implementation = address(
            new SymbolImplementationPower(
                address(manager),
                address(oracleManager),
                fine,
                id(underlying),
                id(string.concat("VOL-", underlying)),
                0.0005e18
            )
        );
        addSymbol(name, implementation);
    }

    // ---- prices

    function id(string memory name) internal pure returns (bytes32) {
        return keccak256(bytes(name));
    }

    function none() internal pure returns (OracleSignature[] memory) {
        return new OracleSignature[](0);
    }

    function signed(string memory name, uint256 timestamp, uint256 value)
        internal
        pure
        returns (OracleSignature memory)
    {
        return signedBy(SIGNER_KEY, name, timestamp, value);
    }

    function signedBy(uint256 key, string memory name, uint256 timestamp, uint256 value)
        internal
        pure
        returns (OracleSignature memory)
    {
        bytes32 message = keccak256(abi.encodePacked(id(name), timestamp, value));
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(key, keccak256(abi.encodePacked("\x19Ethereum Signed Message:\n32", message)));
        return OracleSignature(id(name), timestamp, value, v, r, s);
    }

    function one(OracleSignature memory signature) internal pure returns (OracleSignature[] memory list) {
        list = new OracleSignature[](1);
        list[0] = signature;
    }

    /// Puts a reading on chain that is newer than the one there.
    function setPrice(string memory name, uint256 value) internal {
        uint256 timestamp = block.timestamp;
        if (timestamp <= oracleOf[name].timestamp()) timestamp = oracleOf[name].timestamp() + 1;
        OracleSignature memory o = signed(name, timestamp, value);
        bool taken = oracleManager.updateValue(o.oracleSymbolId, o.timestamp, o.value, o.v, o.r, o.s);
        assertTrue(taken, "a newer reading is taken");
    }

    /// The same prices with new timestamps.
    function refreshPrices() internal {
        setPrice("BTCUSD", oracleOf["BTCUSD"].value());
        setPrice("ETHUSD", oracleOf["ETHUSD"].value());
    }

    // ---- acting

    function fund(address account, uint256 amount) internal {
        tokenB0.mint(account, amount);
        vm.prank(account);
        tokenB0.approve(address(poolProxy), type(uint256).max);
    }

    function stake(address user, uint256 amount) internal {
        deri.mint(user, amount);
        vm.startPrank(user);
        deri.approve(address(privileger), amount);
        privileger.deposit(amount);
        vm.stopPrank();
    }

    function addMargin(address trader, uint256 amount) internal returns (uint256 pTokenId) {
        fund(trader, amount);
        vm.prank(trader);
        lite.addMargin(amount, none());
        return pToken.getTokenIdOf(trader);
    }

    function trade(address trader, string memory name, int256 volume) internal {
        vm.prank(trader);
        lite.trade(name, volume, volume > 0 ? ANY_PRICE : -ANY_PRICE, none());
    }

    function liquidate(uint256 pTokenId) internal {
        vm.prank(LIQUIDATOR);
        lite.liquidate(pTokenId, none());
    }

    function liquidate(uint256 pTokenId, OracleSignature[] memory signatures) internal {
        vm.prank(LIQUIDATOR);
        lite.liquidate(pTokenId, signatures);
    }

    function nextBlock() internal {
        vm.roll(block.number + 1);
    }

    // ---- reading

    function amountB0Of(uint256 pTokenId) internal view returns (int256 amountB0) {
        (, amountB0) = lite.tdInfos(pTokenId);
    }

    function volumeOf(string memory name, uint256 pTokenId) internal view returns (int256 volume) {
        (volume,,) = symbolOf[name].positions(pTokenId);
    }

    function costOf(string memory name, uint256 pTokenId) internal view returns (int256 cost) {
        (, cost,) = symbolOf[name].positions(pTokenId);
    }

    function fundingOf(string memory name, uint256 pTokenId) internal view returns (int256 funding) {
        (,, funding) = symbolOf[name].positions(pTokenId);
    }
}
