"""Puts the cluster's values into the HelmCharts of a manifest: text in, text out, the rest stays as it is.

A HelmChart (helm.cattle.io/v1) with the annotation `rke2.cattle.io/inject-cluster-config: "true"` gets them
in `spec.set`, as RKE2 has it; there no HelmChartConfig overrides them. The text is changed in place, by the
positions of its YAML nodes: comments stay, and no value is read and written differently.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from rke2_units.lean import byte_order_marks

if TYPE_CHECKING:
    from yaml.nodes import MappingNode, Node

API_VERSION = "helm.cattle.io/v1"
ANNOTATION = "rke2.cattle.io/inject-cluster-config"
# The texts that Go's ParseBool takes for true.
_TRUE = ("1", "t", "T", "true", "TRUE", "True")

# A piece of the text (from, to) and what takes its place.
_Edit = tuple[int, int, str]


def with_values(text: str, values: Mapping[str, str]) -> str:
    """The manifest with these values in each of its HelmCharts that asks for them.

    An empty value takes the place of another one, but is not added. ValueError for a manifest that is no
    YAML, or whose `spec.set` is written in a way that cannot be changed.
    """
    if ANNOTATION not in text:
        return text
    import yaml

    whole, text = text, byte_order_marks.without(text)
    try:
        edits = [edit for document in _documents(text) for edit in _edits(document, values)]
        if not edits:
            return whole
        for start, end, replacement in sorted(edits, reverse=True):
            text = text[:start] + replacement + text[end:]
        if any(_edits(document, values) for document in _documents(text)):
            raise ValueError("spec.set of a HelmChart is written in an unusual way")
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    return text


def _documents(text: str) -> Iterator[MappingNode]:
    """The root of each document that is a HelmChart with the annotation. Nothing is constructed: an alias
    stays an alias, however often it is multiplied."""
    import yaml

    for root in yaml.compose_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if (
            isinstance(root, yaml.MappingNode)
            and _text(root, "apiVersion") == API_VERSION
            and _text(root, "kind") == "HelmChart"
            and _text(root, "metadata", "annotations", ANNOTATION) in _TRUE
        ):
            yield root


def _find(node: Node | None, *path: str) -> Node | None:
    import yaml

    for key in path:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        node = next((value for name, value in pairs if name.value == key), None)
    return node


def _text(node: Node, *path: str) -> str:
    import yaml

    found = _find(node, *path)
    return str(found.value) if isinstance(found, yaml.ScalarNode) else ""


def _edits(chart: MappingNode, values: Mapping[str, str]) -> list[_Edit]:
    import yaml

    spec = _find(chart, "spec")
    if not isinstance(spec, yaml.MappingNode) or not spec.value:
        return []
    present = _find(spec, "set")
    missing = {key: value for key, value in values.items() if value}
    if present is None:
        return [_addition(spec, "set", missing)] if missing else []
    if isinstance(present, yaml.ScalarNode) or not present.value:
        # `set:` or `set: {}`
        return [_replacement(present, missing)] if missing else []
    if not isinstance(present, yaml.MappingNode):
        raise ValueError("spec.set of a HelmChart is not a table")
    edits = []
    for key, value in values.items():
        old = _find(present, key)
        if old is None:
            if value:
                edits.append(_addition(present, key, value))
        elif (old.tag, old.value) != ("tag:yaml.org,2002:str", value):
            edits.append(_replacement(old, value))
    return edits


def _replacement(node: Node, value: object) -> _Edit:
    start, end = node.start_mark.index, node.end_mark.index
    # Nothing at all stands right behind the colon.
    return (start, end, (" " if start == end else "") + json.dumps(value))


def _addition(mapping: MappingNode, key: str, value: object) -> _Edit:
    """Puts a pair before the first one of a mapping, on a line of its own where each has one."""
    first = mapping.value[0][0].start_mark
    separator = ", " if mapping.flow_style else "\n" + " " * first.column
    return (first.index, first.index, f"{json.dumps(key)}: {json.dumps(value)}{separator}")
