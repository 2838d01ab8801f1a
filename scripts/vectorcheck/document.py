"""A JSON document read by its schema: every value that is missing or of another type is named by its path."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


class MalformedError(Exception):
    """The file is not a file of vectors of the schema asked for; the text says where and what was expected."""


@dataclass(frozen=True, slots=True)
class Node:
    """One value of the document and the path to it. Vectors write integers as decimal strings; both are read."""

    value: object
    path: str = "$"

    def __getitem__(self, key: str) -> Node:
        if not isinstance(self.value, dict):
            raise self._unexpected("an object")
        if key not in self.value:
            raise MalformedError(f"{self.path}: expected a field {key!r}, but there is none")
        return Node(self.value[key], f"{self.path}.{key}")

    def get(self, key: str) -> Node | None:
        """The field, or None where it is absent or null."""
        if not isinstance(self.value, dict):
            raise self._unexpected("an object")
        child = self.value.get(key)
        return None if child is None else Node(child, f"{self.path}.{key}")

    def items(self) -> Iterator[tuple[str, Node]]:
        if not isinstance(self.value, dict):
            raise self._unexpected("an object")
        for key, child in self.value.items():
            yield key, Node(child, f"{self.path}.{key}")

    def __iter__(self) -> Iterator[Node]:
        if not isinstance(self.value, list):
            raise self._unexpected("a list")
        for index, child in enumerate(self.value):
            yield Node(child, f"{self.path}[{index}]")

    @property
    def integer(self) -> int:
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise self._unexpected("an integer as a decimal string")
        try:
            return int(value)
        except ValueError:
            raise self._unexpected("an integer as a decimal string") from None

    @property
    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self._unexpected("a string")
        return self.value

    @property
    def flag(self) -> bool:
        if not isinstance(self.value, bool):
            raise self._unexpected("true or false")
        return self.value

    @property
    def raw(self) -> bytes:
        """A ``0x`` string of hexadecimal digits."""
        digits = self.text
        try:
            return bytes.fromhex(digits.removeprefix("0x"))
        except ValueError:
            raise self._unexpected("hexadecimal digits") from None

    def _unexpected(self, expected: str) -> MalformedError:
        came = repr(self.value)
        if len(came) > 60:
            came = came[:57] + "..."
        return MalformedError(f"{self.path}: expected {expected}, but came {came}")


def load(path: Path) -> Node:
    """Read a ``.json`` or ``.json.gz`` file."""
    try:
        raw = path.read_bytes()
        return Node(json.loads(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw))
    except OSError as error:
        raise MalformedError(f"can't be read ({error.strerror or error})") from error
    except (EOFError, zlib.error) as error:
        raise MalformedError(f"is not a whole gzip file ({error})") from error
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"is not JSON ({error})") from error


def require_schema(document: Node, schema: str) -> None:
    came = document["schema"].text
    if came != schema:
        raise MalformedError(f"expected a file of schema {schema!r}, but its schema is {came!r}")
