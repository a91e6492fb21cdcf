"""Runs on a node: writes through the API without end, and keeps an account of what was acknowledged.

Usage: writer.py URL DIRECTORY RUN. DIRECTORY holds ca.crt, client.crt and client.key; RUN is part of every
object's name. The account is DIRECTORY/RUN.jsonl: a line before each request, and one after its answer;
tests/node/helpers/writes.py reads it.
"""

import http.client
import json
import ssl
import sys
import time
from typing import IO, Any
from urllib.parse import urlsplit

COLLECTION = "/api/v1/namespaces/default/configmaps"
# Seconds for one request; whoever waits longer for a server that is gone has lost it.
PATIENCE = 4.0
PAUSE = 0.1
# An object lives for so many rounds, and every second one for ever.
LIFE = 10


class Writer:
    """One client, which has one connection at a time and no request twice."""

    def __init__(self, url: str, directory: str, run: str, account: IO[str]) -> None:
        target = urlsplit(url)
        context = ssl.create_default_context(cafile=f"{directory}/ca.crt")
        context.load_cert_chain(f"{directory}/client.crt", f"{directory}/client.key")
        self.connection = http.client.HTTPSConnection(
            target.hostname or "", target.port, timeout=PATIENCE, context=context
        )
        self.run = run
        self.account = account
        # The version of the counter that this client has seen last; None when it is not known.
        self.version: str | None = None

    def note(self, **values: object) -> None:
        self.account.write(json.dumps({"at": time.time(), **values}) + "\n")
        self.account.flush()

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Status and JSON of the answer. Status 0: there was none, and the request came through or not."""
        try:
            headers = {"Content-Type": "application/json"}
            self.connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            response = self.connection.getresponse()
            return response.status, json.loads(response.read())
        except (OSError, ValueError, http.client.HTTPException):
            self.connection.close()
            return 0, {}

    def change(self, method: str, path: str, body: object = None, **what: object) -> tuple[str, Any]:
        """One write, with its two lines; the outcome as the second one has it."""
        self.note(**what)
        status, answer = self.ask(method, path, body)
        known = {200: "acknowledged", 201: "acknowledged", 404: "missing", 409: "conflict"}
        outcome = known.get(status, "unknown")
        self.note(was=outcome)
        return outcome, answer

    def create(self, number: int) -> bool:
        name = f"{self.run}-{number}"
        body = {"metadata": {"name": name}, "data": {"number": str(number)}}
        return self.change("POST", COLLECTION, body, do="create", name=name)[0] == "acknowledged"

    def delete(self, number: int) -> None:
        name = f"{self.run}-{number}"
        self.change("DELETE", f"{COLLECTION}/{name}", do="delete", name=name)

    def count(self, number: int) -> None:
        """Set the counter, if nobody else has: what was acknowledged can then only grow."""
        name = f"{self.run}-count"
        if self.version is None and not self.read(name):
            return
        metadata = {"name": name, "resourceVersion": self.version}
        body = {"metadata": metadata, "data": {"number": str(number)}}
        outcome, answer = self.change("PUT", f"{COLLECTION}/{name}", body, do="count", number=number)
        self.version = answer["metadata"]["resourceVersion"] if outcome == "acknowledged" else None

    def read(self, name: str) -> bool:
        """Learn the counter's version, and make it when there is none; whether that is known now."""
        status, answer = self.ask("GET", f"{COLLECTION}/{name}")
        if status == 404:
            self.note(do="read", number=None)
            body = {"metadata": {"name": name}, "data": {"number": "-1"}}
            status, answer = self.ask("POST", COLLECTION, body)
        elif status == 200:
            self.note(do="read", number=int(answer["data"]["number"]))
        if status not in (200, 201):
            return False
        self.version = answer["metadata"]["resourceVersion"]
        return True


def main() -> None:
    url, directory, run = sys.argv[1:]
    with open(f"{directory}/{run}.jsonl", "a") as account:
        writer = Writer(url, directory, run, account)
        number = 0
        alive: set[int] = set()
        while True:
            if writer.create(number):
                alive.add(number)
            writer.count(number)
            if number % 2 == 0 and number - LIFE in alive:
                writer.delete(number - LIFE)
            number += 1
            time.sleep(PAUSE)


if __name__ == "__main__":
    main()
