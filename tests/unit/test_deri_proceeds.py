"""The reward promised before a vault is emptied, against what was recorded when it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from keeper.protocols.deri import vault
from keeper.protocols.deri.readings import apply_signatures
from keeper.protocols.deri.settle import Closed, liquidate
from keeper.protocols.deri.symbols import prepare
from scripts.vectorcheck import deri_schema
from scripts.vectorcheck.document import load

OUTCOMES = Path(__file__).resolve().parents[1] / "vectors" / "deri" / "outcomes.json.gz"


def test_the_promised_reward_is_never_more_than_the_recorded_one() -> None:
    emptied = 0
    for snapshot in load(OUTCOMES)["snapshots"]:
        market = deri_schema.market(snapshot)
        oracles = apply_signatures(market.oracles, deri_schema.signatures(snapshot))
        assert isinstance(oracles, dict)
        market = replace(market, oracles=oracles)
        prepared = prepare(market, snapshot["exec"]["number"].integer, snapshot["exec"]["timestamp"].integer)
        for outcome in snapshot["outcomes"]:
            recorded = outcome.get("redemptions")
            if recorded is None:
                continue
            account = market.accounts[outcome["pTokenId"].integer]
            proceeds = vault.proceeds(account.vault, market.vault_markets, oracles, market.pool.decimals_b0)
            results = [entry["resultB0"].integer for entry in recorded]
            assert len(results) == len(proceeds.at_least)
            for least, result in zip(proceeds.at_least, results, strict=True):
                assert least <= result <= 2 * least  # not an idle bound either
            promised = liquidate(prepared, account, proceeds.at_least)
            assert isinstance(promised, Closed)
            assert promised.reward_b0 <= outcome["reward"].integer
            exact = liquidate(prepared, account, results)
            assert isinstance(exact, Closed)
            assert exact.reward_b0 == outcome["reward"].integer
            emptied += bool(results)
    assert emptied >= 20
