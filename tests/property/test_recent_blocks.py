"""Whatever forks follow: the window is the end of the chain, and a block that is gone still knows its past."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from keeper.chain.blocks import RecentBlocks
from keeper.model import Block, Header

KEPT = 12
FORKS = st.lists(st.tuples(st.integers(0, 15), st.integers(1, 5)), max_size=25)
"""How far back each fork begins, and how many blocks it adds."""


def block(number: int, name: int, parent: str) -> Block:
    return Block(Header(number, f"{number}-{name}", parent, number, 0, 0, None))


@settings(derandomize=True, max_examples=300, deadline=None)
@given(FORKS)
def test_the_window_is_the_end_of_the_chain_and_every_recent_block_knows_its_past(forks: list[tuple[int, int]]) -> None:
    chain = [block(0, 0, "")]
    recent = RecentBlocks(chain, kept=KEPT)
    pasts = {"0-0": list(chain)}
    for name, (back, added) in enumerate(forks, start=1):
        ancestor = max(0, len(recent) - 1 - back)
        parent = recent.blocks[ancestor]
        chain = chain[: chain.index(parent) + 1]
        for _ in range(added):
            chain.append(block(chain[-1].header.number + 1, name, chain[-1].header.hash))
            pasts[chain[-1].header.hash] = list(chain)
        gone = list(recent.after(parent.header.hash))
        recent.replace_after(parent.header.hash, chain[chain.index(parent) + 1 :])

        assert list(recent.blocks) == chain[-KEPT:]
        for each in (*recent.blocks, *gone):
            window = recent.up_to(each.header.hash)
            assert not window or window == pasts[each.header.hash][-len(window) :]
        assert recent.up_to(recent.head.hash) == chain[-KEPT:]
        if gone and parent.header.hash in recent:
            assert recent.up_to(gone[-1].header.hash), "the head that was just taken away can still be stored"
