"""Templates are data: units in unit_templates/, static pods and cluster manifests in manifests/."""

from functools import cache
from pathlib import Path

import jinja2

_PACKAGE_PARENT = Path(__file__).resolve().parent.parent.parent
_INSTALLED = Path("/usr/share/rke2-units")


@cache
def _environment() -> jinja2.Environment:
    # A checkout carries the templates beside the package, the Debian package below /usr/share.
    base = _PACKAGE_PARENT if (_PACKAGE_PARENT / "unit_templates").is_dir() else _INSTALLED
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader([base / "unit_templates", base / "manifests"]),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render(template: str, **values: object) -> str:
    """The text of a template (its file's name) with these values; an unknown name in it is an error."""
    return _environment().get_template(template).render(values)
