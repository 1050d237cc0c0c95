"""The command line: `synthgen VERB`. Data goes to stdout, everything else to stderr; errors say the way out.

Exit status: 0 ok; 1 unexpected; 2 usage or configuration; 3 input data; 4 integrity; 5 no space or I/O; 6 partial (more
samples rejected than allowed, or a type that failed too often); 130 or 143 interrupted, and resumable.
"""

import sys

from synthgen.cli.app import app
from synthgen.cli.build import build, demo, init, plan, replay
from synthgen.cli.comparing import compare_real
from synthgen.cli.doctor import doctor
from synthgen.cli.exporting import export, report
from synthgen.cli.inspect import diff, info, list_, status, verify, view
from synthgen.cli.training import train
from synthgen.cli.worth import worth
from synthgen.errors import SynthgenError

for command in (build, demo, plan, init, replay, view, info, diff, status, verify, report, export, worth, train, doctor):
    app.command()(command)
app.command("list")(list_)
app.command("compare-real")(compare_real)


def main() -> None:
    """Run the command that the arguments ask for."""
    try:
        app(prog_name="synthgen")
    except SynthgenError as error:
        sys.stderr.write(f"synthgen: {error}\n")
        sys.exit(error.exit_status)
