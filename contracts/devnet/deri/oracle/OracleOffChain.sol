// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ISignedOracle} from "../../../interfaces/deri/IOracle.sol";
import {NameVersion} from "../proxy/NameVersion.sol";

/// Readings signed by one key outside the chain; anybody may hand them in.
contract OracleOffChain is ISignedOracle, NameVersion {
    string public symbol;
    bytes32 public immutable symbolId;
    address public immutable signer;
    uint256 public immutable delayAllowance;

    uint256 public timestamp;
    uint256 public value;

    constructor(string memory symbol_, address signer_, uint256 delayAllowance_)
        NameVersion("OracleOffChain", "3.0.1")
    {
        symbol = symbol_;
        symbolId = keccak256(bytes(symbol_));
        signer = signer_;
        delayAllowance = delayAllowance_;
    }

    function getValue() external view returns (uint256) {
        if (block.timestamp >= timestamp + delayAllowance) {
            revert(string.concat("OracleOffChain.getValue: ", symbol, " expired"));
        }
        return value;
    }

    /// A reading that is not newer or not signed by `signer` is ignored, not refused. No chain and no contract is
    /// signed, and a timestamp ahead of the block is accepted.
    function updateValue(uint256 timestamp_, uint256 value_, uint8 v, bytes32 r, bytes32 s) external returns (bool) {
        if (timestamp_ <= timestamp || (v != 27 && v != 28)) return false;
        bytes32 message = keccak256(abi.encodePacked(symbolId, timestamp_, value_));
        bytes32 digest = keccak256(abi.encodePacked("\x19Ethereum Signed Message:\n32", message));
        if (ecrecover(digest, v, r, s) != signer) return false;
        timestamp = timestamp_;
        value = value_;
        emit NewValue(timestamp_, value_);
        return true;
    }
}
