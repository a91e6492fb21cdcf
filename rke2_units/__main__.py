"""`python3 -m rke2_units` is `rke2-units`."""

from rke2_units.cli import main

if __name__ == "__main__":
    main()
