"""The command line: `synthgen VERB`. Data goes to stdout, everything else to stderr; errors say the way out.

Exit status: 0 ok; 1 unexpected; 2 usage or configuration; 3 input data; 4 integrity; 5 no space or I/O; 6 partial (more
samples rejected than allowed, or a type that failed too often); 130 or 143 interrupted, and resumable.
"""

import sys
import warnings

from synthgen.errors import SynthgenError


def main() -> None:
    """Run the command that the arguments ask for."""
    from synthgen.cli.commands import app

    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        app(prog_name="synthgen")
    except SynthgenError as error:
        sys.stderr.write(f"synthgen: {error}\n")
        sys.exit(error.exit_status)
