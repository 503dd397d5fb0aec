"""`python -m medxfer_lab` is the command `medxfer`."""

from medxfer_lab.cli import main

main()
