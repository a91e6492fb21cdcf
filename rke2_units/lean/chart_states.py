"""How a HelmChart can be, as the helm-applier writes it into charts.json, and which of that is a problem."""

FILE_NAME = "charts.json"
# Besides these, a step of helm's that is under way.
DEPLOYED = "deployed"
WAITING = "waiting"  # for something that the chart names and that is not there; without words: not begun
FAILED = "failed"  # and tried again
GIVEN_UP = "given up"  # after backOffLimit
INVALID = "invalid"  # until the chart or its configuration changes


def problem(state: str, words: str) -> str:
    """What is wrong with a chart in this state, of which helm or we said these words; "" for nothing."""
    if state == WAITING:
        return words
    return (words or state) if state in (FAILED, GIVEN_UP, INVALID) else ""
