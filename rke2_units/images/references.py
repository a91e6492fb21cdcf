"""Image references, so that differently written names of one image compare equal."""

_DOCKER = "docker.io"


def normalise(reference: str) -> str:
    """The full name as containerd stores it: registry, path and tag (or digest).

    rancher/x, docker.io/rancher/x:latest and index.docker.io/rancher/x are one image; the Docker Hub's
    one-word names are below library/.
    """
    name, digest_mark, digest = reference.strip().partition("@")
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        registry, path = first, rest
    else:
        registry, path = _DOCKER, name
    if registry == f"index.{_DOCKER}":
        registry = _DOCKER
    if registry == _DOCKER and "/" not in path:
        path = f"library/{path}"
    if digest_mark:
        # Of a tag and a digest the digest counts, as for containerd.
        folders, slash, last = path.rpartition("/")
        path = f"{folders}{slash}{last.partition(':')[0]}"
    elif ":" not in path.rpartition("/")[2]:
        path = f"{path}:latest"
    return f"{registry}/{path}{digest_mark}{digest}"


def listed(line: str) -> str:
    """A list's line as a reference, "" for none; byte order marks and what follows a # are none of it."""
    return line.partition("#")[0].strip("\ufeff \t\r\n")


def spellings(reference: str) -> tuple[str, ...]:
    """Under which names archives may have the image: the Docker Hub's first, then its own registry's.

    Archives carry the Docker Hub's names also where the images are to come from another registry.
    """
    own = normalise(reference)
    hub = f"{_DOCKER}/{own.partition('/')[2]}"
    return (hub, own) if hub != own else (own,)
