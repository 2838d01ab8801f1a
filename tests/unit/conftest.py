"""The contracts of the recorded markets."""

from __future__ import annotations

import pytest

from tests.unit.deri_contracts import Contracts, recorded


@pytest.fixture(params=["lite", "full"])
def contracts(request: pytest.FixtureRequest) -> Contracts:
    return Contracts(recorded(request.param))


@pytest.fixture
def lite() -> Contracts:
    return Contracts(recorded("lite"))
