"""Which of several servers is heeded."""

import pytest

from rke2_units.join import candidates
from rke2_units.join.http import Unreachable


@pytest.mark.parametrize(
    "pauses, expected", [([7.0], 7.0), ([7.0, 3.0], 3.0), ([7.0, 0.0], 0.0)], ids=["one", "less", "unknown"]
)
def test_it_is_the_first_server_that_can_be_there_again_that_is_waited_for(
    pauses: list[float], expected: float
) -> None:
    def attempt(url: str) -> None:
        raise Unreachable(f"{url}: later", pause=float(url))

    with pytest.raises(Unreachable) as error:
        candidates.first([str(pause) for pause in pauses], attempt)
    assert error.value.pause == expected


def test_without_servers_there_is_nothing_to_wait_for() -> None:
    with pytest.raises(Unreachable) as error:
        candidates.first([], lambda url: None)
    assert error.value.pause == 0.0
