"""`helm --settings FILE`: helm out of the klipper-helm image (ExecStart= of rke2-helm.service)."""

from rke2_units.errors import UserError
from rke2_units.programs import console, image_program
from rke2_units.programs.settings import Settings

# klipper-helm, its early releases, and other images of helm.
PLACES = ("usr/bin/helm", "usr/bin/helm_v3", "usr/local/bin/helm", "bin/helm")


def program(settings: Settings, arguments: list[str]) -> None:
    if arguments:
        raise UserError("helm takes no arguments", hint="helm --settings FILE")
    image_program.ensure(
        settings,
        settings.helm,
        places=PLACES,
        version=("version", "--short"),
        hint="helm-job-image must be one like rancher/klipper-helm; or set helm-path",
    )


if __name__ == "__main__":
    console.main(program, "helm --settings FILE")
