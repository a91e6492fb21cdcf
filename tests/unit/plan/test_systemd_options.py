import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.plan.systemd_options import command_line, for_version, quote

UNIT = "[Service]\nRestart=always\nRestartSec=1\nRestartSteps=4\nRestartMaxDelaySec=4\n"


def unquote(word: str) -> str:
    """What systemd makes of one word of an Exec line (systemd.service(5)): quotes, C escapes, %% and $$."""
    if word.startswith('"'):
        assert word.endswith('"')
        word = word[1:-1]
    out, characters = "", iter(word)
    for character in characters:
        if character == "\\":
            out += next(characters)
        elif character in "%$":
            assert next(characters) == character
            out += character
        else:
            assert character != '"'
            out += character
    return out


def test_an_option_that_this_systemd_lacks_is_left_out() -> None:
    assert for_version(UNIT, 252) == "[Service]\nRestart=always\nRestartSec=1\n"


def test_a_newer_systemd_gets_every_option() -> None:
    assert for_version(UNIT, 254) == UNIT


@given(st.text(st.characters(blacklist_characters="\n\r\0", blacklist_categories=["Cs"])))
def test_every_argument_comes_back_as_it_was(argument: str) -> None:
    assert unquote(quote(argument)) == argument


@pytest.mark.parametrize("argument", ["--v=2", "--node-ip=10.0.0.1", "/usr/bin/kubelet"])
def test_an_ordinary_argument_needs_no_quotes(argument: str) -> None:
    assert quote(argument) == argument


@pytest.mark.parametrize("argument", ["", ";", "a b", "-", "@x", 'say "x"', "it's"])
def test_what_systemd_would_read_otherwise_is_quoted(argument: str) -> None:
    assert quote(argument).startswith('"')


@pytest.mark.parametrize("argument", ["a\nb", "a\0", "a\r"])
def test_a_line_break_in_an_argument_is_refused(argument: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        quote(argument)


def test_each_argument_has_a_line_of_its_own() -> None:
    assert command_line(["/bin/x", "--a=1", "b c"]) == '/bin/x \\\n    --a=1 \\\n    "b c"'
