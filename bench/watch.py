"""Runs on the node: prints when etcd is healthy, the apiserver ready, the node Ready, all components up.

Both sides of the benchmark are watched by this same program, so that its own cost is on both.
Usage: watch.py NODE DATA_DIRECTORY SECONDS; the answer is JSON.
"""

import http.client
import json
import ssl
import sys
import time

INTERVAL = 0.05
# kube-controller-manager, kube-scheduler (certificates that name no address), kube-proxy.
TLS_PORTS, PLAIN_PORTS = (10257, 10259), (10256,)


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


def apiserver_connection(tls: str) -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cafile=f"{tls}/server-ca.crt")
    context.load_cert_chain(f"{tls}/client-admin.crt", f"{tls}/client-admin.key")
    return http.client.HTTPSConnection("127.0.0.1", 6443, timeout=2, context=context)


def component_connections() -> list[http.client.HTTPConnection]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return [
        *(http.client.HTTPSConnection("127.0.0.1", port, timeout=2, context=context) for port in TLS_PORTS),
        *(http.client.HTTPConnection("127.0.0.1", port, timeout=2) for port in PLAIN_PORTS),
    ]


def main() -> None:
    node, data, limit = sys.argv[1], sys.argv[2], float(sys.argv[3])
    etcd = http.client.HTTPConnection("127.0.0.1", 2381, timeout=2)
    apiserver: http.client.HTTPConnection | None = None
    silent = component_connections()
    times: dict[str, float] = {}
    deadline = time.time() + limit
    while time.time() < deadline and not {"node Ready", "every component answers"} <= times.keys():
        if "etcd healthy" not in times:
            if '"health":"true"' in ask(etcd, "/health"):
                times["etcd healthy"] = time.time()
        elif "apiserver ready" not in times:
            # Its certificates are made by the start that is watched.
            apiserver = apiserver or apiserver_connection(f"{data}/server/tls")
            if ask(apiserver, "/readyz") == "ok":
                times["apiserver ready"] = time.time()
        else:
            if "node Ready" not in times and is_ready(ask(apiserver, f"/api/v1/nodes/{node}")):
                times["node Ready"] = time.time()
            silent = [connection for connection in silent if not ask(connection, "/healthz")]
            if not silent:
                times.setdefault("every component answers", time.time())
        time.sleep(INTERVAL)
    json.dump(times, sys.stdout)


if __name__ == "__main__":
    main()
