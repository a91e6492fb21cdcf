"""Errors of the API, answered as Kubernetes' Status objects."""

from typing import Any

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    408: "Timeout",
    409: "Conflict",
    413: "RequestEntityTooLarge",
    422: "Invalid",
    429: "TooManyRequests",
    431: "RequestHeaderFieldsTooLarge",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class Refusal(Exception):
    """An error answer with `status`. `message` is sent to the caller; `why`, if given, is logged instead."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        why: str = "",
        headers: dict[str, str] | None = None,
        failed_login: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.why = why or message
        self.headers = headers or {}
        # Whether it counts as a failed login of the caller's address.
        self.failed_login = failed_login


def status_object(status: int, message: str) -> dict[str, Any]:
    """metav1.Status."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": _REASONS.get(status, "InternalError"),
        "code": status,
    }
