"""`python3 -Im rke2_units.controllers --settings FILE`: what rke2-controllers.service executes."""

import sys

from rke2_units.controllers import process, settings
from rke2_units.coordination.process import main

if __name__ == "__main__":
    sys.exit(main("rke2_units.controllers", lambda file: process.run(settings.read(file))))
