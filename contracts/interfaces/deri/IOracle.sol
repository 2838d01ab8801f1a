// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// A price or volatility source for one symbol.
interface IOracle {
    function symbol() external view returns (string memory);

    function symbolId() external view returns (bytes32);

    /// The raw reading, however old.
    function value() external view returns (uint256);

    /// The reading settlement uses. Reverts when it is too old or unusable.
    function getValue() external view returns (uint256);
}

/// An oracle that is fed with signed readings.
interface ISignedOracle is IOracle {
    event NewValue(uint256 indexed timestamp, uint256 indexed value);

    function timestamp() external view returns (uint256);

    function signer() external view returns (address);

    function delayAllowance() external view returns (uint256);

    /// Stores the reading if it is newer and rightly signed; otherwise keeps what it has and answers false.
    function updateValue(uint256 timestamp, uint256 value, uint8 v, bytes32 r, bytes32 s) external returns (bool);
}
