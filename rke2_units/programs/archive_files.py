"""Which files in the air-gap folder are archives of images, and which are lists of images to pull."""

import os

# Suffixes and what unpacks them (the Debian package has the program's name). zstd: RKE2 compresses with a
# long window, which has to be allowed.
PROGRAMS: dict[str, list[str]] = {
    ".tar": [],
    ".tar.gz": ["gzip", "-dc"],
    ".tgz": ["gzip", "-dc"],
    ".tar.bz2": ["bzip2", "-dc"],
    ".tbz": ["bzip2", "-dc"],
    ".tar.lz4": ["lz4", "-dc"],
    ".tar.zst": ["zstd", "-dc", "--long=27"],
    ".tzst": ["zstd", "-dc", "--long=27"],
}


def archives(directory: str) -> list[str]:
    """The paths of the archives in this directory, sorted; none when there is no such directory."""
    return _files(directory, tuple(PROGRAMS))


def is_plain(path: str) -> bool:
    """Whether an archive is not compressed."""
    return path.endswith(".tar")


def lists(directory: str) -> list[str]:
    """The paths of the lists (.txt: one image a line)."""
    return _files(directory, (".txt",))


def _files(directory: str, suffixes: tuple[str, ...]) -> list[str]:
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    return [os.path.join(directory, name) for name in sorted(names) if name.endswith(suffixes)]
