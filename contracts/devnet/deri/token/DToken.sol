// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {NameVersion} from "../proxy/NameVersion.sol";
import {IDToken} from "../../../interfaces/deri/IDToken.sol";

/// A trader's or a liquidity provider's token. One per owner, never burnt.
contract DToken is ERC721, IDToken, NameVersion {
    address public immutable pool;
    uint256 public totalMinted;

    mapping(address => uint256) private _tokenIdOf;

    constructor(string memory name_, string memory symbol_, address pool_)
        ERC721(name_, symbol_)
        NameVersion("DToken", "3.0.1")
    {
        pool = pool_;
    }

    function exists(address owner) external view returns (bool) {
        return _tokenIdOf[owner] != 0;
    }

    function exists(uint256 tokenId) external view returns (bool) {
        return _ownerOf(tokenId) != address(0);
    }

    function getOwnerOf(uint256 tokenId) external view returns (address) {
        return _ownerOf(tokenId);
    }

    function getTokenIdOf(address owner) external view returns (uint256) {
        return _tokenIdOf[owner];
    }

    function mint(address owner) external returns (uint256 tokenId) {
        require(msg.sender == pool, "DToken: only pool");
        tokenId = ++totalMinted;
        _mint(owner, tokenId);
    }

    function _update(address to, uint256 tokenId, address auth) internal override returns (address from) {
        require(_tokenIdOf[to] == 0, "DToken: owner already has one");
        from = super._update(to, tokenId, auth);
        delete _tokenIdOf[from];
        _tokenIdOf[to] = tokenId;
    }
}
