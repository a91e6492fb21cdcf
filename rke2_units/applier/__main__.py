"""`python3 -Im rke2_units.applier --settings FILE`: what rke2-helm-applier.service executes."""

import sys

from rke2_units.applier import process, settings
from rke2_units.coordination.process import main

if __name__ == "__main__":
    sys.exit(main("rke2_units.applier", lambda file: process.run(settings.read(file))))
