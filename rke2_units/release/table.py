"""The releases that are built in; others come with their image lists (rke2_units.node.releases)."""

import difflib
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from rke2_units.config import grammar
from rke2_units.errors import ConfigurationError
from rke2_units.release import image_list
from rke2_units.release.built_in_lists import LISTS
from rke2_units.release.model import STATIC_POD, Release

DEFAULT = "v1.36.4+rke2r1"

# Made of Debian's packages, not by RKE2: its rules by version do not hold for them.
_OF_DEBIAN = ("v1.20.2+rke2r1", "v1.20.2+rke2r2")


def _built_in(name: str) -> Release:
    lists = {key: image_list.parse(text, f"{name} {key}") for key, text in LISTS[name].items()}
    release = image_list.release(name, lists)
    return replace(release, kube_proxy=STATIC_POD, rewrites=False) if name in _OF_DEBIAN else release


RELEASES: Mapping[str, Release] = MappingProxyType({name: _built_in(name) for name in LISTS})


def release(name: str) -> Release:
    """The built-in release of this name; ConfigurationError, with what to do, when there is none."""
    try:
        return RELEASES[name]
    except KeyError:
        raise ConfigurationError(f"unknown release {name!r}", hint=_hint(name)) from None


def _hint(name: str) -> str:
    try:
        grammar.release(name)
        first = f"run: rke2-units release fetch {name}; "
    except ValueError:
        nearest = difflib.get_close_matches(name, RELEASES, n=1)
        first = f"did you mean {nearest[0]}? " if nearest else "a release is written v1.36.4+rke2r1; "
    return f"{first}built in: {', '.join(RELEASES)}"
