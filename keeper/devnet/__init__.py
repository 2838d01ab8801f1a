"""Local markets: Anvil, the re-created protocols deployed to it, and an oracle server that signs prices.

For tests, the demo, the benchmarks and ``scripts/devnet`` only. The daemon never imports this package: nothing
outside it in ``keeper`` may (``tests/unit/test_devnet_isolation.py`` reads the import graph and says so).
"""
