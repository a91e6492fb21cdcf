"""Rewrites are taken when Go's and Python's regular expressions mean the same by them."""

import re
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rke2_units.config import rewrites

BOTH = "not a regular expression that both Go and Python read"


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        ("^rancher/(.*)", "mirror/rancher/$1"),
        ("(.*)", "prefix/$1"),
        ("^([a-z0-9-]+)/(.*)$", "${2}/${1}x"),
        ("(?P<first>[^/]+)/", "$first-"),
        ("(?i)^Library/", "library/"),
        ("(?:a|b)+?c{2,3}d{4}e{5,}", "$0"),
        ("[]a^]", "b"),
        ("[^]a]", "b"),
        (r"\.\-\/\w\d\s\b", "b"),
        (r"[\w.\-\]]\+\++", "b"),
        ("[*+?]+", "b"),
        ("a", "$$1"),
    ],
)
def test_what_both_read_alike_is_taken(pattern: str, replacement: str) -> None:
    rewrites.check(pattern, replacement)


@pytest.mark.parametrize(
    ("pattern", "replacement", "problem"),
    [
        ("(", "a", "is not a regular expression"),
        ("[", "a", "is not a regular expression"),
        ("a**", "a", "is not a regular expression"),
        ("a(?i)b", "a", "is not a regular expression"),
        ("[b-a]", "a", "is not a regular expression"),
        ("a\\", "a", BOTH),
        ("(?=a)", "b", BOTH),
        ("(?!a)b", "b", BOTH),
        ("(?<=a)b", "b", BOTH),
        ("(?<n>a)b", "b", BOTH),
        ("(?P=n)", "b", BOTH),
        ("(?#a)", "b", BOTH),
        ("(?>a)", "b", BOTH),
        ("(a)?(?(1)b|c)", "b", BOTH),
        ("(?U)a", "b", BOTH),
        ("(?L)a", "b", BOTH),
        (r"(a)\1", "b", BOTH),
        (r"a\z", "b", BOTH),
        (r"a\Z", "b", BOTH),
        (r"\pL", "b", BOTH),
        (r"\x41", "b", BOTH),
        (r"\Qa\E", "b", BOTH),
        (r"[\b]", "b", BOTH),
        ("a++", "b", BOTH),
        ("a{2}+", "b", BOTH),
        ("a{,3}", "b", BOTH),
        ("a{1001}", "b", BOTH),
        ("[[:alpha:]]", "b", BOTH),
        ("[a&&b]", "b", BOTH),
        ("[a--b]", "b", BOTH),
        ("é", "b", "ASCII"),
        ("a", "é", "ASCII"),
        ("a", "$1", "refers to $1, and no group"),
        ("(a)", "$2", "refers to $2, and no group"),
        ("(a)", "$1b", "refers to $1b, and no group"),
        ("(a)", "$1_b", "refers to $1_b, and no group"),
        ("(a)", "$01", "refers to $01, and no group"),
        ("(?P<n>a)", "${m}", "refers to $m, and no group"),
        ("(a)", "$", "lone $"),
        ("(a)", "a$-b", "lone $"),
        ("(a)", "${}", "lone $"),
        ("a" * 1001, "b", "longer"),
    ],
)
def test_what_one_of_them_reads_otherwise_is_refused(pattern: str, replacement: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        rewrites.check(pattern, replacement)


@settings(max_examples=400, deadline=None)
@given(st.text("()[]\\.*+?^$|{},:<>-&~#=!01aPbzimsdwQ ", max_size=12), st.text("$1a{}", max_size=5))
def test_what_is_taken_compiles_without_a_warning(pattern: str, replacement: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            rewrites.check(pattern, replacement)
        except ValueError:
            return
        assert re.compile(pattern, re.ASCII)
