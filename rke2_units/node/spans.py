"""Spans of time for people."""


def span(seconds: float) -> str:
    """In its largest unit of which it has at least two, such as 90 s, 5 min, 3 h, 12 d."""
    seconds = max(0, seconds)
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {name}"
    return f"{seconds:.0f} s"
