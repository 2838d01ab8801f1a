"""Who signs. One seam, three ways: an encrypted keystore, a key file, a remote signer over HTTP.

Key material stays inside ``LocalSigner``, which neither shows nor pickles it; no error names a key or a password.
"""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import stat
from pathlib import Path
from typing import NoReturn, Protocol

import aiohttp
from coincurve import PrivateKey, PublicKey

from keeper.chain.transaction import Signed, Transaction, address_of, signature_of
from keeper.errors import SignerError

REMOTE_SECONDS = 2.0

CONTAINER_SECRETS = Path("/run/secrets")
"""Where container engines mount secrets: with modes that can't be chosen, in a file system of the container's own."""


class Signer(Protocol):
    """Something that signs transactions of one address."""

    @property
    def address(self) -> str: ...

    async def sign(self, transaction: Transaction) -> Signed:
        """The raw transaction. Raises ``SignerError`` if the signer refuses or can't be reached."""
        ...

    async def close(self) -> None: ...


class LocalSigner:
    """A key in this process's memory; signs in well under a tenth of a millisecond."""

    __slots__ = ("_key", "address")

    def __init__(self, secret: bytes) -> None:
        try:
            self._key = PrivateKey(secret)
        except ValueError:
            raise SignerError(
                "a private key of 32 bytes", "the bytes given are no valid key", "check the key file or keystore"
            ) from None
        self.address: str = address_of(self._key.public_key.format(compressed=False))

    async def sign(self, transaction: Transaction) -> Signed:
        return transaction.signed(self._key.sign_recoverable(transaction.digest(), hasher=None))

    def sign_digest(self, digest: bytes) -> bytes:
        """65 bytes ``r || s || recovery id`` over 32 bytes."""
        return self._key.sign_recoverable(digest, hasher=None)

    async def close(self) -> None:
        """Nothing is held open."""

    def __repr__(self) -> str:
        return f"LocalSigner({self.address})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signer is not to be copied or pickled")


async def unlock_keystore(path: Path, password_file: Path | None, address: str | None = None) -> LocalSigner:
    """Open an encrypted keystore (Web3 secret storage), the password from a file or else asked for at the terminal.

    Raises ``SignerError`` if the file or the password is wrong, or the key belongs to another address than ``address``.
    The key derivation takes a second by design and runs in a thread.
    """
    keystore = _keystore(path)
    if password_file is None:
        password = await asyncio.to_thread(getpass.getpass, f"password of {path}: ")
    else:
        _refuse_shared(password_file)
        password = _read(password_file, "a password file").rstrip("\r\n")
    try:
        secret = await asyncio.to_thread(_decrypt, keystore, password)
    except ValueError as error:
        if "MAC" not in str(error):
            raise _no_keystore(path) from None
        raise SignerError(
            f"the password of the keystore {path}", "the password does not open it", "check both files"
        ) from None
    except (KeyError, TypeError, NotImplementedError):
        raise _no_keystore(path) from None
    return _belongs(LocalSigner(secret), address, path)


def _decrypt(keystore: str, password: str) -> bytes:
    # Imported here, in the thread: it brings half of cryptography along, a second that a restart need not wait for.
    from keeper.chain.eth_accounts import Account

    return bytes(Account.decrypt(keystore, password))


def read_key_file(path: Path, address: str | None = None) -> LocalSigner:
    """A raw key in hexadecimal from a file that only its owner may read.

    Raises ``SignerError`` if others can read the file, it holds no key, or the key belongs to another address.
    """
    _refuse_shared(path)
    text = _read(path, "a key file").strip().removeprefix("0x")
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        secret = b""
    if len(secret) != 32:
        raise SignerError(
            f"64 hexadecimal digits in {path}", "the file holds something else", "write the private key there, alone"
        )
    return _belongs(LocalSigner(secret), address, path)


class RemoteSigner:
    """A Web3Signer-compatible server (``eth_signTransaction``, ``eth_accounts``).

    What comes back is taken apart: it has to be exactly the transaction asked for, signed by ``address``.
    """

    def __init__(self, url: str, address: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session
        self.address = address
        self._request = 0

    @classmethod
    async def connect(cls, url: str, address: str) -> RemoteSigner:
        """Raises ``SignerError`` if the server can't be reached or does not hold the key of ``address``."""
        timeout = aiohttp.ClientTimeout(total=REMOTE_SECONDS)
        signer = cls(url, address, aiohttp.ClientSession(timeout=timeout))
        try:
            accounts = await signer._call("eth_accounts", [])
            held = [str(item).lower() for item in accounts] if isinstance(accounts, list) else []
            if address.lower() not in held:
                raise SignerError(
                    f"the remote signer to hold the key of {address}",
                    f"it holds {len(held)} other keys",
                    "load the key there, or correct the configured address",
                )
        except BaseException:
            await signer.close()
            raise
        return signer

    async def sign(self, transaction: Transaction) -> Signed:
        fees: dict[str, str] = (
            {"gasPrice": hex(transaction.fees.max_wei)}
            if transaction.fees.tip_wei is None
            else {
                "type": "0x2",
                "maxFeePerGas": hex(transaction.fees.max_wei),
                "maxPriorityFeePerGas": hex(transaction.fees.tip_wei),
            }
        )
        answer = await self._call(
            "eth_signTransaction",
            [
                {
                    "from": self.address,
                    "to": transaction.to,
                    "gas": hex(transaction.gas_limit),
                    "value": hex(transaction.value_wei),
                    "nonce": hex(transaction.nonce),
                    "data": "0x" + transaction.data.hex(),
                    "chainId": hex(transaction.chain_id),
                    **fees,
                }
            ],
        )
        # Nodes that speak this method answer an object with the raw bytes in it; Web3Signer answers the bytes alone.
        text = answer.get("raw") if isinstance(answer, dict) else answer
        try:
            signature = signature_of(bytes.fromhex(str(text).removeprefix("0x")), transaction)
            public_key = PublicKey.from_signature_and_message(signature, transaction.digest(), hasher=None)
            signer = address_of(public_key.format(compressed=False))
        except ValueError as error:
            raise self._refused(f"it answered {error}") from None
        if signer != self.address:
            raise self._refused(f"it signed as {signer}")
        return transaction.signed(signature)

    async def close(self) -> None:
        await self._session.close()

    def __repr__(self) -> str:
        return f"RemoteSigner({self.address})"

    def _refused(self, came: str) -> SignerError:
        return SignerError(f"the remote signer to sign for {self.address}", came, "check the signer and its log")

    async def _call(self, method: str, params: list[object]) -> object:
        self._request += 1
        body = {"jsonrpc": "2.0", "id": self._request, "method": method, "params": params}
        try:
            async with self._session.post(self._url, json=body) as response:
                answer = json.loads(await response.text())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # Never the error's own text: it names the URL, which may carry a credential.
            raise self._refused(f"it could not be reached ({type(error).__name__})") from None
        except (ValueError, RecursionError):
            raise self._refused(f"it answered something that is no JSON (status {response.status})") from None
        if not isinstance(answer, dict) or "result" not in answer:
            fault = answer.get("error") if isinstance(answer, dict) else None
            said = fault.get("message") if isinstance(fault, dict) else None
            raise self._refused(f"it refused: {said or 'no reason given'}")
        return answer["result"]


def _keystore(path: Path) -> str:
    text = _read(path, "an encrypted keystore")
    try:
        usable = isinstance(json.loads(text), dict)
    except ValueError:
        usable = False
    if not usable:
        raise _no_keystore(path)
    return text


def _no_keystore(path: Path) -> SignerError:
    return SignerError(
        f"a keystore at {path}", "it is no Web3 secret storage file", "make one with `cast wallet import`"
    )


def _belongs(signer: LocalSigner, address: str | None, path: Path) -> LocalSigner:
    if address is not None and signer.address != address:
        raise SignerError(
            f"the key of {address} in {path}", f"it holds that of {signer.address}", "correct the path or the address"
        )
    return signer


def _refuse_shared(path: Path) -> None:
    """Refuse a secret that anybody but its owner could have read."""
    if path.resolve().is_relative_to(CONTAINER_SECRETS):
        return
    try:
        status = path.stat()
    except OSError as error:
        raise SignerError(f"a readable file at {path}", f"{error.strerror}", "correct the path") from None
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SignerError(
            f"{path} to be readable by its owner only (mode 0600)",
            f"its mode is {stat.S_IMODE(status.st_mode):04o}",
            f"chmod 600 {path}, and consider the secret known to others",
        )
    if status.st_uid not in (os.geteuid(), 0):
        raise SignerError(f"{path} to be owned by the keeper's user", "it is not", "chown it")


def _read(path: Path, what: str) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise SignerError(f"{what} at {path}", f"it can't be read ({error.strerror})", "correct the path") from None
    except UnicodeDecodeError:
        raise SignerError(f"{what} at {path}", "it is no text file", "correct the path") from None
