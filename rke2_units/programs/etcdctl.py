"""`etcdctl --settings FILE`: etcdctl out of the etcd image (ExecStart= of rke2-etcdctl.service)."""

from rke2_units.errors import UserError
from rke2_units.programs import console, image_program
from rke2_units.programs.settings import Settings

# hardened-etcd, and other images of etcd.
PLACES = ("usr/local/bin/etcdctl", "usr/bin/etcdctl", "bin/etcdctl")


def program(settings: Settings, arguments: list[str]) -> None:
    if arguments:
        raise UserError("etcdctl takes no arguments", hint="etcdctl --settings FILE")
    image_program.ensure(
        settings,
        settings.etcdctl,
        places=PLACES,
        version=("version",),
        hint="etcd-image must be one like rancher/hardened-etcd",
    )


if __name__ == "__main__":
    console.main(program, "etcdctl --settings FILE")
