"""The results of the long fault series as a table: what ./test series writes to docs/fault-series.md."""

import platform
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass
class Row:
    """One test of the series with one parameter: all its repetitions."""

    sentence: str
    lines: str
    outcomes: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    # What the test recorded (record_property), by name.
    figures: dict[str, list[object]] = field(default_factory=dict)

    def markdown(self) -> str:
        passed = self.outcomes.count("passed")
        result = f"{passed} of {len(self.outcomes)}"
        if passed < len(self.outcomes):
            result = f"**{result}**"
        figures = "; ".join(f"{name} {_range(values)}" for name, values in self.figures.items())
        return f"| {self.lines} | {self.sentence} | {result} | {_range(self.seconds)} s | {figures} |"


def page(rows: Iterable[Row]) -> str:
    introduction = (
        "# The long fault series\n\n"
        f"The latest run of `sudo ./test series`: {time.strftime('%Y-%m-%d')}, Linux {platform.release()}. "
        "Times and figures are those of the fastest to the slowest repetition."
        "\n\n"
    )
    table = [f"{row.markdown()}\n" for row in rows]
    if not table:
        return f"{introduction}No test of the series ran.\n"
    head = "| Contract | What happens | Passed | Time | Figures |\n|---|---|---|---|---|\n"
    return introduction + head + "".join(table)


def _range(values: Sequence[object]) -> str:
    """From the smallest to the largest, or all texts."""
    numbers = [value for value in values if isinstance(value, int | float)]
    if len(numbers) < len(values):
        return ", ".join(dict.fromkeys(str(value) for value in values))
    smallest, largest = f"{min(numbers):.1f}", f"{max(numbers):.1f}"
    return smallest if smallest == largest else f"{smallest} to {largest}"
