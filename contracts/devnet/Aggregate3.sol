// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

/// Many calls in one, with the interface of Multicall3's `aggregate3`. Its runtime code is what the keeper injects by an
/// `eth_call` state override where a chain has no Multicall3 (keeper/chain/multicall.py holds a copy of the code).
contract Aggregate3 {
    struct Call3 {
        address target;
        bool allowFailure;
        bytes callData;
    }

    struct Result {
        bool success;
        bytes returnData;
    }

    function aggregate3(Call3[] calldata calls) external payable returns (Result[] memory results) {
        results = new Result[](calls.length);
        for (uint256 i = 0; i < calls.length; ++i) {
            (bool success, bytes memory returnData) = calls[i].target.call(calls[i].callData);
            require(success || calls[i].allowFailure, "a call failed");
            results[i] = Result(success, returnData);
        }
    }
}
