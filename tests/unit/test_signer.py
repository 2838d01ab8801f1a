"""Keystores and key files: what is refused, in which words, and that no secret shows."""

from __future__ import annotations

import asyncio
import json
import pickle
from pathlib import Path

import pytest

from keeper.chain.eth_accounts import Account
from keeper.chain.signer import LocalSigner, read_key_file, unlock_keystore
from keeper.errors import SignerError

SECRET = bytes(range(1, 33))
ADDRESS = LocalSigner(SECRET).address
OTHER = LocalSigner(SECRET[::-1]).address
PASSWORD = "correct horse battery staple"


@pytest.fixture
def keystore(tmp_path: Path) -> Path:
    path = tmp_path / "key.json"
    # Few rounds of scrypt: the format is what is tested, not the patience.
    path.write_text(json.dumps(Account.encrypt(SECRET, PASSWORD, kdf="scrypt", iterations=2)))
    return path


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    return private(tmp_path / "password", PASSWORD + "\n")


def private(path: Path, content: str) -> Path:
    path.write_text(content)
    path.chmod(0o600)
    return path


async def test_a_keystore_opens_with_the_password_of_a_file(keystore: Path, password_file: Path) -> None:
    assert (await unlock_keystore(keystore, password_file, ADDRESS)).address == ADDRESS


async def test_a_keystore_opens_with_a_password_typed_in(keystore: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getpass", lambda prompt: PASSWORD)
    assert (await unlock_keystore(keystore, None)).address == ADDRESS


async def test_a_wrong_password_is_refused(keystore: Path, tmp_path: Path) -> None:
    with pytest.raises(SignerError, match="the password does not open it") as refused:
        await unlock_keystore(keystore, private(tmp_path / "wrong", "guess"))
    assert "guess" not in str(refused.value)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 3}', '{"version": 3, "crypto": {}}', "not json"])
async def test_a_file_that_is_no_keystore_is_refused(content: str, tmp_path: Path, password_file: Path) -> None:
    with pytest.raises(SignerError, match="no Web3 secret storage"):
        await unlock_keystore(private(tmp_path / "odd.json", content), password_file)


async def test_a_missing_keystore_is_refused(tmp_path: Path, password_file: Path) -> None:
    with pytest.raises(SignerError, match="No such file"):
        await unlock_keystore(tmp_path / "nowhere.json", password_file)


async def test_a_key_of_another_address_is_refused(keystore: Path, password_file: Path) -> None:
    with pytest.raises(SignerError, match=f"it holds that of {ADDRESS}"):
        await unlock_keystore(keystore, password_file, OTHER)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_password_file_that_others_can_read_is_refused(keystore: Path, password_file: Path, mode: int) -> None:
    password_file.chmod(mode)
    with pytest.raises(SignerError, match=f"its mode is {mode:04o}"):
        asyncio.run(unlock_keystore(keystore, password_file))


def test_a_key_file_is_read(tmp_path: Path) -> None:
    assert read_key_file(private(tmp_path / "key", "0x" + SECRET.hex() + "\n"), ADDRESS).address == ADDRESS


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = private(tmp_path / "key", SECRET.hex())
    path.chmod(0o644)
    with pytest.raises(SignerError, match="chmod 600") as refused:
        read_key_file(path)
    assert SECRET.hex() not in str(refused.value)


def test_a_secret_that_a_container_engine_mounted_is_taken_with_the_mode_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keeper.chain.signer.CONTAINER_SECRETS", tmp_path)
    path = private(tmp_path / "key", SECRET.hex())
    path.chmod(0o444)
    assert read_key_file(path).address == ADDRESS


@pytest.mark.parametrize("content", ["", "0x", "hello", SECRET.hex()[:-2], SECRET.hex() + "00"])
def test_a_key_file_with_something_else_in_it_is_refused(content: str, tmp_path: Path) -> None:
    with pytest.raises(SignerError, match="64 hexadecimal digits") as refused:
        read_key_file(private(tmp_path / "key", content))
    assert not content or content not in str(refused.value)


def test_a_key_out_of_range_is_refused() -> None:
    with pytest.raises(SignerError, match="no valid key"):
        LocalSigner(b"\xff" * 32)


def test_a_signer_shows_its_address_and_nothing_else() -> None:
    signer = LocalSigner(SECRET)
    assert repr(signer) == str(signer) == f"LocalSigner({ADDRESS})"
    assert not hasattr(signer, "__dict__")
    with pytest.raises(TypeError):
        pickle.dumps(signer)
