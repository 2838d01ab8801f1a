"""The keeper: an on-chain liquidator for Deri Protocol V3 and Meridian Trade."""

__version__ = "0.1.0"
