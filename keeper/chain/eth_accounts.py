"""eth-account, imported without its side effect.

It brings py_ecc along, which raises the interpreter's recursion limit a hundredfold for the whole process. With that, a
deeply nested JSON answer no longer ends in ``RecursionError`` but in a segmentation fault: a price server or a node
could kill the daemon with one line. Every other module takes ``Account`` from here.
"""

import sys

_limit = sys.getrecursionlimit()

from eth_account import Account  # noqa: E402 - after the limit is known
from eth_account.messages import encode_defunct  # noqa: E402

sys.setrecursionlimit(_limit)

__all__ = ["Account", "encode_defunct"]
