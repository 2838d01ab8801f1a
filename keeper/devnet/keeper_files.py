"""What a keeper needs to work a local market: an encrypted keystore, its password, and a configuration."""

from __future__ import annotations

import json
from pathlib import Path

from eth_account import Account

from keeper.devnet.deri import DeriDevnet

PASSWORD = "devnet"  # noqa: S105 - it guards a key that is derived from a public seed
_SCRYPT_ROUNDS = 2**12
"""Few, so that opening the keystore takes no second; a real keystore has 2**18."""


def write_keeper_files(
    folder: Path, devnet: DeriDevnet, *, chain_id: int, poll_seconds: float = 0.1, mode: str = "live"
) -> Path:
    """Write ``keystore.json``, ``password`` and ``keeper.toml`` for the market's liquidator; the last one's path."""
    folder.mkdir(parents=True, exist_ok=True)
    keystore = Account.encrypt(devnet.liquidator_key, PASSWORD, kdf="scrypt", iterations=_SCRYPT_ROUNDS)
    write_private(folder / "keystore.json", json.dumps(keystore, indent=2))
    write_private(folder / "password", PASSWORD + "\n")
    config = folder / "keeper.toml"
    config.write_text(keeper_toml(devnet, chain_id=chain_id, poll_seconds=poll_seconds, mode=mode))
    return config


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text)


def keeper_toml(devnet: DeriDevnet, *, chain_id: int, poll_seconds: float, mode: str) -> str:
    """A keeper's configuration for a local market; its paths count from the folder that it is written to."""
    return f"""\
# A keeper for the local market. Written anew each time the market is started.
mode = "{mode}"

[chains.local]
chain_id = {chain_id}
endpoints = ["{devnet.node.ws_url}", "{devnet.node.http_url}"]

[[chains.local.signers]]
address = "{devnet.liquidator}"
keystore = "keystore.json"
password_file = "password"

[markets.deri-lite]
protocol = "deri-v3"
chain = "local"
pool = "{devnet.pool.address}"
price_servers = ["{devnet.oracle.url}"]
poll_seconds = {poll_seconds}
native_price_b0 = 300

[store]
path = "keeper.sqlite"
"""


def describe(devnet: DeriDevnet) -> dict[str, object]:
    """Everything about a market that another process may want to know; no keys."""
    return {
        "rpc": devnet.node.http_url,
        "websocket": devnet.node.ws_url,
        "price_server": devnet.oracle.url,
        "start_block": devnet.start_block,
        "addresses": {
            "pool": devnet.pool.address,
            "symbol_manager": devnet.symbol_manager.address,
            "p_token": devnet.p_token.address,
            "l_token": devnet.l_token.address,
            "oracle_manager": devnet.oracle_manager.address,
            "privileger": devnet.privileger.address if devnet.privileger else None,
            "token_b0": devnet.token_b0.address,
            "token_deri": devnet.token_deri.address,
        },
        "symbols": {name: contract.address for name, contract in devnet.symbols.items()},
        "oracles": {name: contract.address for name, contract in devnet.oracles.items()},
        "admin": devnet.admin,
        "liquidator": devnet.liquidator,
        "stakers": list(devnet.stakers),
        "traders": [
            {"p_token_id": trader.p_token_id, "owner": trader.owner, "cohort": trader.cohort}
            for trader in devnet.traders
        ],
    }
