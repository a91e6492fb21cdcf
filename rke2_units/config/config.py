"""The configuration of one node, merged and checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from rke2_units.config import check, grammar
from rke2_units.config.keys import BY_NAME, Kind
from rke2_units.config.registries import Registries
from rke2_units.config.values import Given, Item
from rke2_units.errors import Collected, ConfigurationError
from rke2_units.unit_names import Role

DEFAULT_SOURCE = "default"


@dataclass(frozen=True)
class Config:
    """Values by key. Asking for a key that is not in the table is a KeyError.

    `given` holds what the user set, in checked and uniform texts (booleans as "true" and "false", one item
    per value of a list). `warnings` are lines for the user about what is allowed but not wise. `registries`
    is the content of the file that private-registry names.
    """

    role: Role
    # Not in repr: there are secrets in it.
    given: Mapping[str, tuple[Item, ...]] = field(repr=False)
    warnings: tuple[str, ...] = ()
    registries: Registries = field(default_factory=Registries, repr=False)

    def text(self, name: str) -> str:
        """The value, its default when it is not set; "" when it has none."""
        items = self.given.get(name)
        return items[-1].text if items else BY_NAME[name].default

    def boolean(self, name: str) -> bool:
        return grammar.boolean(self.text(name))

    def number(self, name: str) -> int:
        """A whole number; of a file mode (OCTAL) its value, ready for chmod."""
        text = self.text(name)
        return grammar.octal(text) if BY_NAME[name].kind is Kind.OCTAL else grammar.number(text)

    def seconds(self, name: str) -> float:
        return grammar.duration(self.text(name))

    def items(self, name: str) -> tuple[str, ...]:
        """The values of a list."""
        items = self.given.get(name)
        if items is not None:
            return tuple(item.text for item in items)
        default = BY_NAME[name].default
        return tuple(default.split(",")) if default else ()

    def with_cluster(self, values: Mapping[str, Sequence[str]], source: str) -> "Config":
        """This configuration with the cluster's values (by key, one text or a list's items) over its own.

        They are checked as those of a file are; ConfigurationError says where they come from (`source`).
        """
        given = {
            name: Given(tuple(Item(text, source) for text in texts), BY_NAME[name].kind is Kind.LIST, source)
            for name, texts in values.items()
        }
        errors = Collected()
        settled = check.settle(self.role, given, errors)
        errors.raise_any()
        return replace(self, given={**self.given, **settled})

    def is_set(self, name: str) -> bool:
        """Whether the user gave it a value; nothing, an empty text and an empty list are none."""
        return name in self.given

    def source(self, name: str, index: int = -1) -> str:
        """Where the value, of a list its item `index`, was set; "default" when it was not."""
        items = self.given.get(name)
        return items[index].source if items else DEFAULT_SOURCE

    def error(
        self, name: str, problem: str, *, index: int = -1, hint: str | None = None
    ) -> ConfigurationError:
        """An error about this key: "SOURCE: NAME PROBLEM"."""
        return ConfigurationError(f"{self.source(name, index)}: {name} {problem}", hint=hint)
