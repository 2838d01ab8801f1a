"""An owner's side of the privileger: where the stake stands, what to deposit, doing it, and being told in time.

``plan`` is arithmetic alone, ``amounts`` reads and writes DERI for people, ``stakers`` finds out who has staked,
``account`` reads a signer's figures from the chain, ``moves`` deposits and withdraws, ``watch`` raises alerts.
The contract's own rules are in ``keeper.protocols.deri.privileger``.
"""
