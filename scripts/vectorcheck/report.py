"""What a comparison found."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Report:
    """``summary`` is the last line printed, ``mismatches`` are the lines before it."""

    summary: str
    mismatches: tuple[str, ...]
    exact: bool


@dataclass(slots=True)
class Comparison:
    """Collects the differences of one recorded thing, each a line that says where, what was recorded, what came."""

    where: str
    differences: list[str] = field(default_factory=list)

    def same(self, what: str, recorded: object, computed: object) -> None:
        if recorded != computed:
            self.differences.append(f"{self.where}: {what}: recorded {recorded}, computed {computed}")
