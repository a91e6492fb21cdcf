"""Makes a health check again and again, at next to no cost."""

from rke2_units.lean.http import TIMEOUT, Connection
from rke2_units.lean.settings import HealthCheck


class Probe:
    """One health check and the connection that is kept for it."""

    def __init__(self, check: HealthCheck, timeout: float = TIMEOUT) -> None:
        self.check = check
        self.timeout = timeout
        self._connection = Connection(check.host, check.port, check.identity, timeout=timeout)

    def ask(self) -> str:
        """Why the component is not healthy, in words; "" when it is."""
        try:
            answer = self._connection.ask(self.check.path)
        except OSError as error:
            return _words(error, self.timeout)
        if answer.status != 200:
            return f"HTTP {answer.status}{_failed_checks(answer.body)}"
        if self.check.contains and self.check.contains.encode() not in answer.body:
            return f"answered without {self.check.contains!r}"
        return ""

    def __enter__(self) -> "Probe":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()


def _words(error: OSError, timeout: float) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:.0f} s"
    return error.strerror or str(error)


def _failed_checks(body: bytes) -> str:
    """The checks that a Kubernetes health page names as failed ("[-]etcd failed: ...")."""
    failed = [
        line[3:].split(" ")[0] for line in body.decode(errors="replace").splitlines() if line[:3] == "[-]"
    ]
    return f", failed: {', '.join(failed[:4])}" if failed else ""
