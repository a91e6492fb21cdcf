"""What others wrote, on its way to this node's terminal."""


def line(text: object) -> str:
    """The text in one line of printable characters: no escape sequences, no line breaks."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in str(text)).split())
