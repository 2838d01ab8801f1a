"""Log lines: JSON for machines, and never a secret."""

from __future__ import annotations

import io
import json

import structlog

from keeper.ops.logs import Secrets, configure


def test_a_secret_is_masked_wherever_it_stands() -> None:
    out = io.StringIO()
    secrets = configure("json", stream=out)
    secrets.add("hunter22")
    secrets.add_url("https://node.example/v3/0123456789abcdef")
    structlog.get_logger().warning(
        "password hunter22",
        url="https://node.example/v3/0123456789abcdef",
        nested={"list": ["hunter22"]},
        error=ValueError("hunter22"),
    )
    try:
        raise ValueError("hunter22 in a traceback")
    except ValueError:
        structlog.get_logger().exception("failed")
    text = out.getvalue()
    assert "hunter22" not in text
    assert "0123456789abcdef" not in text
    first = json.loads(text.splitlines()[0])
    assert first["event"] == "password [secret]"
    assert first["level"] == "warning"


def test_the_level_is_respected() -> None:
    out = io.StringIO()
    configure("json", "warning", out)
    structlog.get_logger().info("quiet")
    assert out.getvalue() == ""


def test_a_short_string_is_not_masked_everywhere() -> None:
    secrets = Secrets()
    secrets.add("ab")
    assert secrets.mask("a cab") == "a cab"
