"""Unit options that not every systemd knows, and how a unit is written for the one in front of us."""

# Option -> the first systemd version that has it (systemd's NEWS). An older systemd only warns about an
# unknown option and goes on without it, so what is left out is left out here, knowingly.
SINCE = {
    "RestartSteps": 254,
    "RestartMaxDelaySec": 254,
}


def for_version(unit: str, version: int) -> str:
    """The unit's text without the options that this systemd lacks."""
    return "".join(
        line for line in unit.splitlines(keepends=True) if SINCE.get(line.partition("=")[0], 0) <= version
    )


def quote(argument: str) -> str:
    """One argument of an Exec line, quoted as systemd.service(5) and systemd.syntax(7) say.

    Specifiers (%) and variables ($) are taken literally. Raises ValueError for a line break or a null
    byte: C escapes could carry them, but no argument of ours has a use for them.
    """
    if any(character in argument for character in "\n\r\0"):
        raise ValueError(f"an argument of a unit cannot hold a line break: {argument!r}")
    escaped = argument.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$")
    plain = escaped and all(c.isalnum() or c in "-_=./:,@+%*!{}[]()<>$" for c in escaped)
    if plain and escaped not in (";",) and escaped[0] not in "-@:+!":
        return escaped
    if plain and escaped.startswith("--"):
        return escaped
    return '"' + escaped.replace('"', '\\"') + '"'


def command_line(arguments: list[str]) -> str:
    """An Exec line's value from a program's path and its arguments, one argument a line."""
    return " \\\n    ".join(quote(argument) for argument in arguments)
