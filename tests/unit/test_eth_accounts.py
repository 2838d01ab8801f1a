"""Unlocking a key must not change what the interpreter does with a nested answer."""

from __future__ import annotations

import subprocess
import sys


def test_the_recursion_limit_stays_so_a_nested_answer_is_an_error_and_not_a_crash() -> None:
    script = (
        "import json, sys\n"
        "before = sys.getrecursionlimit()\n"
        "from keeper.chain.eth_accounts import Account\n"
        "assert sys.getrecursionlimit() == before\n"
        "try:\n"
        "    json.loads('[' * 200_000)\n"
        "except RecursionError:\n"
        "    print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "refused\n"), done.stderr


def test_nobody_else_imports_eth_account() -> None:
    found = subprocess.run(
        ["git", "grep", "-lE", r"^\s*(from|import) eth_account"], capture_output=True, text=True, check=False
    )
    if found.returncode <= 1:  # elsewhere than in a checkout there is nothing to ask
        assert found.stdout.split() == ["keeper/chain/eth_accounts.py"]
