"""The configuration of this node, read from RKE2's files, the environment and the command line."""

import os
import stat
from codecs import BOM_UTF8
from collections.abc import Iterable, Mapping, Sequence

from rke2_units import layout
from rke2_units.config import check, consistency, derived, registries, yaml_events, yaml_file
from rke2_units.config.config import Config
from rke2_units.config.keys import Kind, find
from rke2_units.config.merge import merge
from rke2_units.config.registries import Registries
from rke2_units.config.values import Item, text_value
from rke2_units.config.yaml_file import Entry
from rke2_units.errors import Collected, ConfigurationError
from rke2_units.unit_names import Role

_LARGEST_TOKEN_FILE = 4096


def load(
    role: Role,
    *,
    config_file: str | None = None,
    environment: Mapping[str, str],
    arguments: Sequence[tuple[str, str]] = (),
) -> Config:
    """The configuration of a node of this role; ConfigurationError, with file and line, for what is wrong.

    The file is `config_file`, else `config` of the arguments (key and value each), else RKE2_CONFIG_FILE,
    else /etc/rancher/rke2/config.yaml; only the last of these may be missing. Every *.yaml and *.yml of the
    folder FILE.d follows, in the byte order of their names. Token files are read as well: their content
    becomes the value of `token` or `agent-token`. So is the file of registries, which may be missing where
    private-registry is not set.
    """
    path, named_by = _config_file(config_file, environment, arguments)
    warnings: list[str] = []
    errors = Collected()
    files = _read_all(path, named_by, warnings, errors)
    config = settled(role, files, environment, arguments, errors)
    given = dict(config.given)
    for name in ("token", "agent-token"):
        if config.is_set(f"{name}-file"):
            with errors.collecting():
                given[name] = (_token(config, name, warnings),)
    found = Registries()
    with errors.collecting():
        found = _registries(config, warnings)
    errors.raise_any()
    return Config(role, given, tuple(warnings), found)


def settled(
    role: Role,
    files: Iterable[Sequence[Entry]],
    environment: Mapping[str, str],
    arguments: Sequence[tuple[str, str]],
    errors: Collected,
) -> Config:
    """The checked configuration of these entries, variables and arguments; token files and the file of
    registries are not read.

    ConfigurationError for all that is wrong, together with what `errors` holds already.
    """
    config = Config(role, check.settle(role, merge(role, files, environment, arguments, errors), errors))
    # Whether keys contradict each other is only known once each of them is right.
    errors.raise_any()
    consistency.check(config)
    return config


def _config_file(
    path: str | None, environment: Mapping[str, str], arguments: Sequence[tuple[str, str]]
) -> tuple[str, str | None]:
    """The file's path, and what named it (None: nothing did)."""
    of_arguments = [text for key, text in arguments if key in ("config", "c")]
    candidates = (
        (path, "command line"),
        (of_arguments[-1] if of_arguments else "", "command line"),
        (environment.get("RKE2_CONFIG_FILE", ""), "environment RKE2_CONFIG_FILE"),
    )
    named = [(text, source) for text, source in candidates if text]
    if not named:
        return layout.CONFIG_FILE, None
    found, source = named[0]
    if found.lower().startswith(("http://", "https://")):
        raise ConfigurationError(
            f"{source}: config cannot be a URL: rke2-units reads its configuration from files only",
            hint="download it and name the file",
        )
    return found, source


def _read_all(path: str, named_by: str | None, warnings: list[str], errors: Collected) -> list[list[Entry]]:
    paths = _drop_ins(f"{path}.d")
    if named_by is not None or os.path.lexists(path):
        paths.insert(0, path)
    files = []
    for found in paths:
        content, mode = _read(
            found, f"{named_by}: config" if found == path and named_by else found, yaml_events.LARGEST_FILE
        )
        entries: list[Entry] = []
        with errors.collecting():
            entries = yaml_file.parse(content, found)
        secrets = [name for entry in entries if (name := _secret(entry))]
        if secrets and mode & stat.S_IROTH:
            warnings.append(f"{found} holds {secrets[0]} and can be read by everyone (chmod 600 {found})")
        files.append(entries)
    return files


def _secret(entry: Entry) -> str | None:
    key = find(entry.key.removesuffix("+"))
    return key.name if key and key.secret and key.kind is Kind.TEXT else None


def _drop_ins(directory: str) -> list[str]:
    try:
        with os.scandir(os.fsencode(directory)) as entries:
            found = [entry.path for entry in entries if not entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{directory} cannot be read: {_reason(error)}") from None
    return [os.fsdecode(path) for path in sorted(found) if path.lower().endswith((b".yaml", b".yml"))]


def _token(config: Config, name: str, warnings: list[str]) -> Item:
    """The token in the file that `<name>-file` names, without the white space around it."""
    path = config.text(f"{name}-file")
    source = config.source(f"{name}-file")
    content, mode = _read(path, f"{source}: {name}-file", _LARGEST_TOKEN_FILE)
    if mode & stat.S_IROTH:
        warnings.append(f"{name}-file {path} can be read by everyone (chmod 600 {path})")
    try:
        text = content.removeprefix(BOM_UTF8).decode("ascii").strip()
    except UnicodeDecodeError:
        raise ConfigurationError(f"{source}: {name}-file {path} must hold one line of ASCII text") from None
    if not text:
        raise ConfigurationError(f"{source}: {name}-file {path} is empty", hint="write the token into it")
    errors = Collected()
    settled = check.settle(config.role, {name: text_value(text, path)}, errors)
    errors.raise_any()
    return settled[name][0]


def _registries(config: Config, warnings: list[str]) -> Registries:
    path = config.text("private-registry")
    named = config.is_set("private-registry")
    if not named and not os.path.lexists(path):
        return Registries()
    about = f"{config.source('private-registry')}: private-registry" if named else path
    content, mode = _read(path, about, yaml_events.LARGEST_FILE)
    found = registries.parse(content, path, _problem_of_pem_file)
    if mode & stat.S_IROTH and any(host.auth for host in found.configs.values()):
        warnings.append(f"{path} holds credentials and can be read by everyone (chmod 600 {path})")
    if (socket := derived.foreign_containerd(config)) and (found.mirrors or found.configs):
        warnings.append(
            f"{path} acts where rke2-units itself pulls; the containerd behind {socket} "
            "(container-runtime-endpoint) pulls as its own configuration says"
        )
    return found


def _problem_of_pem_file(path: str) -> str | None:
    try:
        content, _ = _read(path, path, yaml_events.LARGEST_FILE)
    except ConfigurationError as error:
        return error.message.removeprefix(f"{path} ")
    return None if b"-----BEGIN " in content else "is not a PEM file"


def _read(path: str, source: str, limit: int) -> tuple[bytes, int]:
    """Content (at most one byte more than `limit`) and mode of a regular file; `source` begins the error."""
    about = path if source == path else f"{source} {path}"
    try:
        # Never waits for the other end of a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ConfigurationError(f"{about} is not a regular file")
            return file.read(limit + 1), status.st_mode
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{about} cannot be read: {_reason(error)}") from None


def _reason(error: OSError | ValueError) -> str:
    return (
        (error.strerror or "an error")
        if isinstance(error, OSError)
        else "its name has a character that none can have"
    )
