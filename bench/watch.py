"""Runs on the node: prints when etcd is healthy, the apiserver ready and the node Ready, as JSON.

Both sides of the benchmark are watched by this same program, so that its own cost is on both.
Usage: watch.py NODE DATA_DIRECTORY SECONDS
"""

import http.client
import json
import ssl
import sys
import time

INTERVAL = 0.05


def ask(connection: http.client.HTTPConnection, path: str) -> str:
    """The body of a 200 answer, "" for anything else; a broken connection is opened again next time."""
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read().decode()
        return body if response.status == 200 else ""
    except (OSError, http.client.HTTPException):
        connection.close()
        return ""


def is_ready(body: str) -> bool:
    conditions = json.loads(body)["status"]["conditions"] if body else []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def main() -> None:
    node, data, limit = sys.argv[1], sys.argv[2], float(sys.argv[3])
    tls = f"{data}/server/tls"
    etcd = http.client.HTTPConnection("127.0.0.1", 2381, timeout=2)
    times: dict[str, float] = {}
    apiserver: http.client.HTTPConnection | None = None
    deadline = time.time() + limit
    while time.time() < deadline and "node Ready" not in times:
        if "etcd healthy" not in times:
            if '"health":"true"' in ask(etcd, "/health"):
                times["etcd healthy"] = time.time()
        else:
            if apiserver is None:
                context = ssl.create_default_context(cafile=f"{tls}/server-ca.crt")
                context.load_cert_chain(f"{tls}/client-admin.crt", f"{tls}/client-admin.key")
                apiserver = http.client.HTTPSConnection("127.0.0.1", 6443, timeout=2, context=context)
            if "apiserver ready" not in times:
                if ask(apiserver, "/readyz") == "ok":
                    times["apiserver ready"] = time.time()
            elif is_ready(ask(apiserver, f"/api/v1/nodes/{node}")):
                times["node Ready"] = time.time()
        time.sleep(INTERVAL)
    json.dump(times, sys.stdout)


main()
