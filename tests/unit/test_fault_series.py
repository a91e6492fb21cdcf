"""The table that ./test series writes."""

from tests.fault_series import Row, page


def test_a_row_counts_repetitions_and_shows_the_spread_of_times_and_figures() -> None:
    row = Row(
        "containers live on", "L2", ["passed"] * 3, [2.0, 4.04, 3.0], {"seconds down": [1.5, 0.5, 1.0]}
    )
    assert row.markdown() == (
        "| L2 | containers live on | 3 of 3 | 2.0 to 4.0 s | seconds down 0.5 to 1.5 |"
    )


def test_a_row_with_a_failure_stands_out() -> None:
    assert "| **1 of 2** |" in Row("x", "L1", ["passed", "failed"], [1.0, 1.0]).markdown()


def test_a_series_that_did_not_run_says_so() -> None:
    assert "No test of the series ran." in page([])
