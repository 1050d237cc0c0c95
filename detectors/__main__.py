"""`python -m detectors` is `detectors`."""

from detectors.cli import main

main()
