"""Values as they were given, before their key's type is applied to them."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Item:
    """One scalar. `text` is what was written, `source` where ("FILE:LINE", "environment RKE2_TOKEN", ...).

    `meaning` is what YAML makes of an unquoted text that it takes for something else than text ("false" for
    `no`, "420" for `0644`), None for text. `null`: nothing was written.
    """

    text: str = field(repr=False)
    source: str
    meaning: str | None = None
    null: bool = False


@dataclass(frozen=True)
class Given:
    """A key's value: one item, or several (`is_list`: written as a list)."""

    items: tuple[Item, ...]
    is_list: bool
    source: str

    def followed_by(self, other: "Given") -> "Given":
        """Both values together, as `key+` in a later file makes them."""
        kept = tuple(item for item in self.items if not item.null)
        return Given(kept + other.items, self.is_list or other.is_list, other.source)


def text_value(text: str, source: str) -> Given:
    """A value from the environment or the command line."""
    return Given((Item(text, source),), False, source)
