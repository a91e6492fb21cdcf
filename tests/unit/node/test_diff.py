"""Changes are shown as a unified diff, and never with a secret in it."""

from hypothesis import given
from hypothesis import strategies as st

from rke2_units.model import File
from rke2_units.node.apply import Change, Kind
from rke2_units.node.diff import unified


def change(old: str | None, new: str | None, *, secret: bool = False) -> Change:
    kind = Kind.ADD if old is None else Kind.REMOVE if new is None else Kind.CHANGE
    file = None if new is None else File("/etc/x", new, secret=secret)
    return Change(kind, "/etc/x", old, file, secret)


def test_a_changed_file_is_a_unified_diff() -> None:
    assert unified([change("a\nb\nc\n", "a\nB\nc\n")]) == (
        "--- /etc/x\n+++ /etc/x\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n"
    )


def test_an_added_and_a_removed_file_name_dev_null() -> None:
    assert unified([change(None, "a\n")]).startswith("--- /dev/null\n+++ /etc/x\n@@ -0,0 +1 @@\n+a\n")
    assert unified([change("a\n", None)]).startswith("--- /etc/x\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n")


def test_a_missing_line_end_is_said_as_diff_says_it() -> None:
    assert unified([change("a", "b")]).splitlines()[-4:] == [
        "-a",
        "\\ No newline at end of file",
        "+b",
        "\\ No newline at end of file",
    ]


def test_nothing_is_an_empty_diff() -> None:
    assert unified([]) == ""


def test_folders_and_modes_are_told_in_words() -> None:
    assert unified([Change(Kind.ADD, "/var/x")]) == "folder /var/x: made\n"
    assert "mode or owner" in unified([Change(Kind.CHANGE, "/var/x")])
    assert "(mode or owner)" in unified([change("same", "same")])
    assert "(empty file)" in unified([change(None, "")])


def test_a_secret_file_is_named_and_not_shown() -> None:
    text = unified([change("hunter1", "hunter2", secret=True), change("hunter3", None, secret=True)])
    assert "hunter" not in text
    assert text.count("/etc/x") == 3


def test_a_change_of_nothing_but_a_secret_is_told_without_it() -> None:
    text = unified([change("password: one\n", "password: two\n")])
    assert "(a secret value in it)" in text
    assert "one" not in text.replace("not shown", "")
    assert "two" not in text


SECRET = st.text("abcdefghij0123456789", min_size=8, max_size=40)


@given(
    SECRET,
    st.sampled_from(["password", "token", "client-secret", "auth"]),
    st.sampled_from([": ", "=", ' = "']),
)
def test_no_secret_value_is_ever_shown(secret: str, key: str, joint: str) -> None:
    text = f"{key}{joint}{secret}" + ('"' if '"' in joint else "")
    assert secret not in unified([change("x\n", f"{text}\n")])


def test_no_variable_of_a_pod_is_shown_whatever_its_name() -> None:
    manifest = (
        'env:\n    - name: "FILE_HASH"\n      value: "abc"\n    - name: "DB"\n      value: "hunter2"\n'
    )
    shown = unified([change(manifest, None), change(None, manifest), change(manifest, manifest + "x\n")])
    assert "hunter2" not in shown
    assert 'value: "abc"' in shown
