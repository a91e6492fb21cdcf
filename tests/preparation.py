"""Everything that the tests are made of, built before the first of them: `python3 -m tests.preparation`.

The compiler is busy with Kubernetes for minutes, while Debian's roots wait for the network: all is made at
once. Nothing is built beside a test.
"""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tests import package
from tests.nodes import charts, debian, helm, host, seaweedfs
from tests.nodes.content import SUITES, content
from tests.nodes.errors import NodeError
from tests.nodes.registry_storage import registry_storage
from tests.nodes.root import root


def main() -> int:
    """Build what is missing; the exit code."""
    try:
        # apt lets one in at a time.
        host.prepare(host.BUILD_PACKAGES, helm.HOST_PACKAGES, seaweedfs.HOST_PACKAGES)
        debian.mirror()
        for_each = (content, root, package.build_root)
        _at_once(
            helm.images, seaweedfs.program, *(partial(make, suite) for make in for_each for suite in SUITES)
        )
        # Of what is there now. Charts are tested on Debian 12 alone.
        _at_once(
            *(partial(registry_storage, content(suite)) for suite in SUITES),
            *(partial(package.build_deb, suite) for suite in SUITES),
            partial(charts.runtime_image, content("bookworm")),
        )
    except NodeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _at_once(*makers: Callable[[], object]) -> None:
    with ThreadPoolExecutor(len(makers)) as pool:
        for making in [pool.submit(make) for make in makers]:
            making.result()


if __name__ == "__main__":
    sys.exit(main())
