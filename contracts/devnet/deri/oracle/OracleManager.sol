// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IOracle, ISignedOracle} from "../../../interfaces/deri/IOracle.sol";
import {IOracleManager} from "../../../interfaces/deri/IOracleManager.sol";
import {NameVersion} from "../proxy/NameVersion.sol";

/// Finds the oracle of a symbol id.
contract OracleManager is IOracleManager, NameVersion {
    address public admin;

    mapping(bytes32 => address) private _oracles;

    constructor() NameVersion("OracleManager", "3.0.1") {
        admin = msg.sender;
    }

    function setOracle(address oracle) external {
        require(msg.sender == admin, "Admin: only admin");
        bytes32 symbolId = IOracle(oracle).symbolId();
        _oracles[symbolId] = oracle;
        emit NewOracle(symbolId, oracle);
    }

    function delOracle(bytes32 symbolId) external {
        require(msg.sender == admin, "Admin: only admin");
        delete _oracles[symbolId];
        emit NewOracle(symbolId, address(0));
    }

    function getOracle(bytes32 symbolId) external view returns (address) {
        return _oracles[symbolId];
    }

    function value(bytes32 symbolId) external view returns (uint256) {
        return IOracle(_known(symbolId)).value();
    }

    function getValue(bytes32 symbolId) external view returns (uint256) {
        return IOracle(_known(symbolId)).getValue();
    }

    /// Reverts when the symbol's oracle is not one that takes signed readings.
    function updateValue(bytes32 symbolId, uint256 timestamp, uint256 value_, uint8 v, bytes32 r, bytes32 s)
        external
        returns (bool)
    {
        return ISignedOracle(_known(symbolId)).updateValue(timestamp, value_, v, r, s);
    }

    function _known(bytes32 symbolId) private view returns (address oracle) {
        oracle = _oracles[symbolId];
        require(oracle != address(0), "OracleManager: oracle does not exist");
    }
}
