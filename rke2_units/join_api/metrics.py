"""The supervisor's metrics, in Prometheus' text format (version 0.0.4)."""

import os
import time
from collections import Counter
from collections.abc import Mapping

CONTENT_TYPE = "text/plain; version=0.0.4"
_REQUESTS = "rke2_units_supervisor_requests_total"
_NOWHERE = "other"


class Metrics:
    """Requests since the start of the process, by the endpoint's path: callers cannot invent labels."""

    def __init__(self) -> None:
        self._started = time.time()
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._failed_logins = 0

    def count_request(self, method: str, path: str | None, status: int) -> None:
        """`path` is that of an endpoint, with {path} for its variable part; None for any other."""
        known = path is not None
        self._requests[method if known else _NOWHERE, path or _NOWHERE, status] += 1

    def count_failed_login(self) -> None:
        self._failed_logins += 1

    def text(self, connections: int) -> str:
        """All metrics as text; `connections` is the present number of them."""
        requests = {
            f'{{code="{status}",method="{method}",path="{path}"}}': count
            for (method, path, status), count in sorted(self._requests.items())
        }
        with open("/proc/self/statm", encoding="ascii") as file:
            resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return "".join(
            (
                _family(_REQUESTS, "counter", "Answered requests.", requests),
                _family(
                    "rke2_units_supervisor_failed_logins_total",
                    "counter",
                    "Requests with wrong credentials.",
                    {"": self._failed_logins},
                ),
                _family(
                    "rke2_units_supervisor_connections", "gauge", "Open connections.", {"": connections}
                ),
                _family(
                    "process_cpu_seconds_total",
                    "counter",
                    "Processor time of the process.",
                    {"": time.process_time()},
                ),
                _family("process_resident_memory_bytes", "gauge", "Resident memory.", {"": resident}),
                _family(
                    "process_open_fds",
                    "gauge",
                    "Open file descriptors.",
                    {"": len(os.listdir("/proc/self/fd"))},
                ),
                _family(
                    "process_start_time_seconds",
                    "gauge",
                    "Start of the process since 1970.",
                    {"": self._started},
                ),
            )
        )


def _family(name: str, kind: str, text: str, samples: Mapping[str, float]) -> str:
    """One metric with its samples, by their labels."""
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    lines += [f"{name}{labels} {value}" for labels, value in samples.items()]
    return "\n".join(lines) + "\n"
