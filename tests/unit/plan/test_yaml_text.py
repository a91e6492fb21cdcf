"""YAML that Go's parsers read as it was meant."""

import pytest
import yaml

from rke2_units.plan import yaml_text


@pytest.mark.parametrize(
    "text",
    ["08", "1e3", "1e-12345678", "0b1", "0o7", "0x1f", "1_000", ".5", "-1", "+1", "y", "N", "10.0.0.1"],
)
def test_texts_that_go_takes_for_numbers_or_booleans_are_quoted(text: str) -> None:
    written = yaml_text.document({"value": text})
    assert written == f'value: "{text}"\n'
    assert yaml.safe_load(written) == {"value": text}


@pytest.mark.parametrize("text", ["yes", "true", "null", "~", "1:30", "a: b", "", "2001-01-01"])
def test_texts_that_every_parser_takes_for_something_else_are_quoted(text: str) -> None:
    written = yaml_text.document({"value": text})
    assert written != f"value: {text}\n"
    assert yaml.safe_load(written) == {"value": text}


def test_what_can_only_be_a_text_is_left_plain() -> None:
    assert yaml_text.document({"name": "node1-1a2b3c4d", "timeout": "2m0s", "count": 3}) == (
        "name: node1-1a2b3c4d\ntimeout: 2m0s\ncount: 3\n"
    )
