// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// The token of a trader (pToken) or a liquidity provider (lToken): one per owner, ids from 1.
interface IDToken {
    function pool() external view returns (address);

    function totalMinted() external view returns (uint256);

    function exists(address owner) external view returns (bool);

    function exists(uint256 tokenId) external view returns (bool);

    function getOwnerOf(uint256 tokenId) external view returns (address);

    function getTokenIdOf(address owner) external view returns (uint256);

    function mint(address owner) external returns (uint256 tokenId);
}
