"""What is a problem of a chart, for the applier's STATUS= and for rke2-units status alike."""

import pytest

from rke2_units.lean.chart_states import DEPLOYED, FAILED, GIVEN_UP, INVALID, WAITING, problem


@pytest.mark.parametrize(
    ("state", "words", "told"),
    [
        (DEPLOYED, "", ""),
        ("install", "", ""),
        # Before anybody has looked at it.
        (WAITING, "", ""),
        (WAITING, "there is no Secret n/s", "there is no Secret n/s"),
        (FAILED, "no such host", "no such host"),
        (INVALID, "spec.chart is missing", "spec.chart is missing"),
        # Another process of the applier knew what helm had said.
        (GIVEN_UP, "", "given up"),
    ],
)
def test_a_chart_has_a_problem_while_it_cannot_be_installed(state: str, words: str, told: str) -> None:
    assert problem(state, words) == told
