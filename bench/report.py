"""How benchmarks say what they found: tables in Markdown."""

import statistics
from collections.abc import Sequence


def verdict(value: float, budget: float) -> str:
    return "met" if value <= budget else "**missed**"


def spread(values: Sequence[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def table(*rows: tuple[str, ...]) -> None:
    head, *body = rows
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in body:
        print("| " + " | ".join(row) + " |")
    print(flush=True)
