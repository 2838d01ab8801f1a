"""Storms: the real daemon on a real local market, with somebody doing their worst to it. Each prints its figures."""
