"""On which Debian suites, and with them systemd versions, a test runs."""

import pytest

from tests.nodes.content import SUITES

# systemd 252 and 257; for tests about what units do to each other.
on_each_systemd = pytest.mark.parametrize("server", SUITES, indirect=True)
