"""The Kubernetes API's times."""


def seconds(moment: object) -> float:
    """`2026-11-22T10:00:00Z` in seconds since the epoch; 0 for any other text."""
    from datetime import datetime

    try:
        return datetime.fromisoformat(str(moment)).timestamp()
    except ValueError:
        return 0.0
