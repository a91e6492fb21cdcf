"""`image --settings FILE COMPONENT`: makes sure that containerd has the component's image.

First ExecStartPre= of rke2-static-pod@COMPONENT.service. It waits for an image that rke2-images.service
imports or pulls, and pulls every other image itself.
"""

import time

from rke2_units import unit_names
from rke2_units.errors import UserError
from rke2_units.images import image_store
from rke2_units.images.references import normalise
from rke2_units.lean import console, systemd
from rke2_units.lean.settings import Settings

_INTERVAL = 0.1
_FIRST_LOOK = 0.5
_LOOK = 2.0
# rke2-images.service may be about to be started.
_PATIENCE = 3.0


def program(settings: Settings, arguments: list[str]) -> None:
    if len(arguments) != 1:
        raise UserError("image takes one component", hint="image --settings FILE COMPONENT")
    reference = settings.static_pod(arguments[0]).image
    if _is_brought(reference):
        return
    name = normalise(reference)
    if name in image_store.stored(settings, f"name=={name}"):
        return
    from rke2_units.images import image_pull

    try:
        image_pull.bring(settings, reference)
    except UserError as error:
        # An archive that has it may be damaged, or the disk full.
        if cause := _import_failure(name):
            raise UserError(f"{arguments[0]}: {cause}; {error.message}") from None
        raise UserError(
            f"{arguments[0]}: its image is in no archive in {settings.image_archives}, and {error.message}",
            hint=error.hint or "put the archive there, or name a registry that has it in registries.yaml",
        ) from None


def _import_failure(name: str) -> str:
    """Why importing the image from an archive failed; "" when no archive can have it."""
    present = image_store.read_present()
    reasons = present.reasons if present is not None else {}
    return reasons.get(name) or reasons.get(image_store.ANY, "")


def _is_brought(reference: str) -> bool:
    """Whether rke2-images.service has imported the image; returns when it has, or when it will not."""
    name = normalise(reference)
    waiting = console.Waiting()
    began = time.monotonic()
    look = began + _FIRST_LOOK
    while True:
        present = image_store.read_present()
        if present is not None and name in present.images:
            return True
        if present is not None and name not in present.pending:
            # It imports other images, not this one: do not wait.
            return False
        now = time.monotonic()
        if now >= look:
            look = now + _LOOK
            state = systemd.unit_state(unit_names.IMAGES_UNIT)
            if not state.may_still_act and (present is not None or now - began > _PATIENCE):
                # It may have ended between the two looks.
                present = image_store.read_present()
                return present is not None and name in present.images
        waiting.report(f"the image {reference}", f"{unit_names.IMAGES_UNIT} is running")
        time.sleep(_INTERVAL)


if __name__ == "__main__":
    console.main(program, "image --settings FILE COMPONENT")
