"""The command line: `detectors VERB`. Data goes to stdout, everything else to stderr; errors say the way out.

Exit status: as of `synthgen`.
"""

import sys
import warnings
from importlib.util import find_spec

from synthgen.errors import SynthgenError, to_install


def main() -> None:
    """Run the command that the arguments ask for."""
    if find_spec("torch") is None and len(sys.argv) > 1 and not {"-h", "--help"} & set(sys.argv[1:]):
        sys.stderr.write(f"detectors: PyTorch is not installed: {to_install('detectors')}.\n")
        sys.exit(2)
    from detectors.cli.commands import app
    from synthgen.terminal.training import Interrupted

    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        app(prog_name="detectors")
    except SynthgenError as error:
        sys.stderr.write(f"detectors: {error}\n")
        sys.exit(error.exit_status)
    except Interrupted as interrupt:
        sys.stderr.write(
            "detectors: interrupted. Run the same command again: it goes on from the last checkpoint, if there is one yet.\n"
        )
        sys.exit(interrupt.exit_status)
