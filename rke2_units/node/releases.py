"""The releases that this node knows: those built in, and those whose image lists were fetched and kept.

The image lists themselves are stored (layout.RELEASES_DIRECTORY, one JSON file for each release); everything
else is derived from them when they are read.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rke2_units.config import grammar
from rke2_units.doors import files
from rke2_units.doors.download import download
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.layout import RELEASES_DIRECTORY
from rke2_units.release import checksums, image_list
from rke2_units.release.model import ALL, CORE, Release
from rke2_units.release.table import RELEASES
from rke2_units.release.table import release as built_in

# RKE2's are some kilobytes large.
_LARGEST = 1 << 20
_FROM_FILE = "get its image list from elsewhere, then run: rke2-units release fetch {} --from FILE"


@dataclass(frozen=True)
class Fetched:
    """A release that is not built in. `source`: the URL or the files of its image lists."""

    source: str
    release: Release


def find(name: str) -> Release:
    """The release of this name; ConfigurationError if it is neither built in nor stored here."""
    kept = read(name) if name not in RELEASES else None
    return kept.release if kept else built_in(name)


def read(name: str) -> Fetched | None:
    """The stored release of this name, None if it was never fetched."""
    try:
        grammar.release(name)
    except ValueError:
        return None
    path = _path(name)
    text = files.read_text(path)
    if text is None:
        return None
    try:
        content = json.loads(text)
        lists = {
            str(key): image_list.parse("\n".join(lines), path) for key, lines in content["lists"].items()
        }
        return Fetched(str(content["source"]), image_list.release(name, lists))
    except (ValueError, KeyError, TypeError, AttributeError, ConfigurationError) as error:
        raise ConfigurationError(
            f"{path} is damaged: {error}", hint=f"fetch it again: rke2-units release fetch {name}"
        ) from error


def fetched_names() -> tuple[str, ...]:
    """The names of the stored releases, sorted."""
    try:
        found = os.listdir(RELEASES_DIRECTORY)
    except FileNotFoundError:
        return ()
    return tuple(sorted(name.removesuffix(".json") for name in found if name.endswith(".json")))


def keep(fetched: Fetched) -> bool:
    """Stores the release; False if it was already stored with the same content."""
    content = {
        "release": fetched.release.name,
        "source": fetched.source,
        "lists": dict(fetched.release.lists),
    }
    text = json.dumps(content, indent=1) + "\n"
    return files.write_atomic(_path(fetched.release.name), text, 0o644)


def fetch(name: str, url: str, architecture: str, tell: Callable[[str], None]) -> Fetched:
    """The release out of the image lists at `url`, each checked against the sha256sum file beside them.

    Fetches all lists that the file names, and stores nothing. ConfigurationError or UserError if anything is
    missing or invalid.
    """
    _refuse_built_in(name)
    folder = f"{url}/{name.replace('+', '%2B')}"
    sums_url = f"{folder}/sha256sum-{architecture}.txt"
    try:
        sums = checksums.parse(_text(_download(sums_url), sums_url), sums_url)
        wanted = _wanted(sums, architecture)
        if not wanted:
            raise ConfigurationError(f"{sums_url} names no image list for {architecture}")
        texts = []
        for file, list_name in wanted.items():
            place = f"{folder}/{file}"
            tell(f"fetching {place}")
            content = _download(place)
            digest = hashlib.sha256(content).hexdigest()
            if digest != sums[file]:
                raise UserError(f"{place} does not match {sums_url}: its sha256 is {digest}")
            texts.append((list_name, _text(content, place), place))
        return Fetched(folder, image_list.release(name, _parsed(texts)))
    except UserError as error:
        raise type(error)(
            f"cannot fetch release {name}: {error.message}", hint=error.hint or _FROM_FILE.format(name)
        ) from None


def of_files(name: str, paths: Sequence[str]) -> Fetched:
    """The release from files with RKE2's image lists; a name of another form stands for all lists."""
    _refuse_built_in(name)
    texts = [(image_list.list_name(os.path.basename(path)) or ALL, _read(path), path) for path in paths]
    source = ", ".join(os.path.abspath(path) for path in paths)
    return Fetched(source, image_list.release(name, _parsed(texts)))


def read_list(path: str) -> tuple[str, ...]:
    """The qualified images of a list on this machine; ConfigurationError for another file."""
    return image_list.parse(_read(path), path)


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > _LARGEST:
        raise ConfigurationError(f"{path} is not an image list: it is larger than {_LARGEST} bytes")
    return _text(content, path)


def _refuse_built_in(name: str) -> None:
    if name in RELEASES:
        raise ConfigurationError(f"release {name} is built in", hint="its image lists cannot be replaced")
    try:
        grammar.release(name)
    except ValueError:
        built_in(name)  # Raises the error that says what is wrong.


def _wanted(sums: Mapping[str, str], architecture: str) -> dict[str, str]:
    """The lists to fetch, by file name; those that only repeat others are left out."""
    named = {file: name for file in sorted(sums) if (name := image_list.list_name(file, architecture))}
    if CORE in named.values():
        return {file: name for file, name in named.items() if name != ALL}
    return named


def _parsed(texts: Sequence[tuple[str, str, str]]) -> dict[str, tuple[str, ...]]:
    """Lists by name, of (name, text, source); two of one name become one."""
    lists: dict[str, tuple[str, ...]] = {}
    for name, text, source in texts:
        lists[name] = tuple(sorted({*lists.get(name, ()), *image_list.parse(text, source)}))
    return lists


def _download(url: str) -> bytes:
    return download(url, limit=_LARGEST)


def _text(content: bytes, source: str) -> str:
    try:
        return content.decode("ascii")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{source} is not plain text") from None


def _path(name: str) -> str:
    return f"{RELEASES_DIRECTORY}/{name}.json"
