"""Which files in the air-gap folder are archives of images, and which are lists of images to pull."""

import os

from rke2_units.errors import UserError

# The endings of archives' names, RKE2's.
_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tar.lz4", ".tar.zst", ".tzst")
_LIST = ".txt"
_ZSTD = ["zstd", "-dc", "--long=27"]
# What unpacks a file, by what it begins with: names are often wrong. The Debian package has the program's
# name. RKE2 compresses with a long window, which zstd has to be allowed.
_PROGRAMS = {
    b"\x1f\x8b": ["gzip", "-dc"],
    b"BZh": ["bzip2", "-dc"],
    b"\x04\x22\x4d\x18": ["lz4", "-dc"],
    b"\x28\xb5\x2f\xfd": _ZSTD,
    # Frames to be passed over, which some compressors begin with.
    **{bytes((number,)) + b"\x2a\x4d\x18": _ZSTD for number in range(0x50, 0x60)},
}
_XZ = b"\xfd7zXZ"
# Of a tar that is not compressed, at this place.
_TAR, _TAR_AT = b"ustar", 257


def archives(directory: str) -> list[str]:
    """The paths of the archives in this directory, sorted; none when there is no such directory."""
    return [path for path in _files(directory) if path.endswith(_ENDINGS)]


def lists(directory: str) -> list[str]:
    """The paths of the lists (.txt: one image a line)."""
    return [path for path in _files(directory) if path.endswith(_LIST)]


def passed_over(directory: str) -> list[str]:
    """The names of files that are neither archives nor lists, without hidden ones."""
    names = [os.path.basename(path) for path in _files(directory) if not path.endswith((*_ENDINGS, _LIST))]
    return [name for name in names if not name.startswith(".")]


def unpacker(path: str) -> list[str]:
    """The command that decompresses this archive, [] when it is not compressed. Raises OSError."""
    with open(path, "rb") as file:
        head = file.read(_TAR_AT + len(_TAR))
    if head.startswith(_XZ):
        raise UserError(f"{path} is compressed with xz, which is not supported", hint="decompress it: xz -d")
    if head[_TAR_AT:] == _TAR:
        return []
    return next((program for magic, program in _PROGRAMS.items() if head.startswith(magic)), [])


def endings() -> str:
    """The endings that are read, as a text for messages."""
    return f"{', '.join(_ENDINGS)} (archives) or {_LIST} (lists)"


def _files(directory: str) -> list[str]:
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    return [os.path.join(directory, name) for name in sorted(names)]
