"""Runs on a server: prints when another node has registered, and when it is Ready.

Usage: watch_node.py NODE DATA_DIRECTORY SECONDS; watch.py lies beside it. The answer is JSON.
"""

import json
import sys
import time

from watch import INTERVAL, apiserver_connection, ask, is_ready


def main() -> None:
    node, data, limit = sys.argv[1], sys.argv[2], float(sys.argv[3])
    apiserver = apiserver_connection(f"{data}/server/tls")
    times: dict[str, float] = {}
    deadline = time.time() + limit
    while time.time() < deadline and "Ready" not in times:
        body = ask(apiserver, f"/api/v1/nodes/{node}")
        if body:
            times.setdefault("registered", time.time())
        if is_ready(body):
            times["Ready"] = time.time()
        time.sleep(INTERVAL)
    json.dump(times, sys.stdout)


main()
