"""RKE2's rule for extra arguments of components (`kubelet-arg` and the like)."""

from collections.abc import Mapping, Sequence, Set

from rke2_units.config import grammar


def merge_values(defaults: Mapping[str, str], extra: Sequence[str]) -> dict[str, list[str]]:
    """Values by argument, sorted by argument's name; repeated extra ones are kept, in their order.

    Extra arguments are `key=value` with or without leading dashes, or a bare `key` for true. They replace
    the default of the same key; `key+=value` comes after it, `key-=value` before it, each as an argument of
    its own: where a component takes a list or a map, it adds them up. ValueError for anything else.
    """
    merged = {key: [value] for key, value in defaults.items()}
    replaced: set[str] = set()
    for text in extra:
        name, value = grammar.argument(text)
        key = name.rstrip("+-")
        if name != key:
            known = [each for each in merged.get(key, []) if each]
            merged[key] = [*known, value] if name.endswith("+") else [value, *known]
        elif key in replaced:
            merged[key].append(value)
        else:
            merged[key] = [value]
        replaced.add(key)
    return dict(sorted(merged.items()))


def merge_arguments(
    defaults: Mapping[str, str], extra: Sequence[str], *, joined: Set[str] = frozenset()
) -> list[str]:
    """The arguments as a component gets them: `--key=value`, sorted by key.

    A key of `joined` is given once, with all its values between commas.
    """
    merged = merge_values(defaults, extra)
    for key in merged.keys() & joined:
        merged[key] = [",".join(merged[key])]
    return [f"--{key}={value}" for key, values in merged.items() for value in values]
