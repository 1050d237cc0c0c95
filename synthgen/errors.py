"""What can go wrong, as the user sees it: each error carries its exit status, and its text says the way out.

Commands print the text without a traceback and leave with `exit_status`. Anything that is not a `SynthgenError` is a bug
(exit status 1, with a traceback).
"""


class SynthgenError(Exception):
    """An error the user can do something about. `str(error)` names the file or option, and says what to do."""

    exit_status = 1


class UsageError(SynthgenError):
    """A command line, recipe or configuration that cannot be meant (exit status 2)."""

    exit_status = 2


class InputDataError(SynthgenError):
    """Images, datasets or masks that are missing, unreadable or not what they claim to be (exit status 3)."""

    exit_status = 3


class IntegrityError(SynthgenError):
    """A shard, manifest or model file that does not hold what was written into it (exit status 4)."""

    exit_status = 4


class StorageError(SynthgenError):
    """No space, no permission, or a device that failed while writing (exit status 5)."""

    exit_status = 5


class PartialBuildError(SynthgenError):
    """The build ended, but more samples were rejected than the recipe allows, or a type failed too often (exit status 6)."""

    exit_status = 6


_MOST_LISTED = 40


def to_install(*extras: str) -> str:
    """The command that installs this project with some of its extras, for messages.

    From a checkout: it is on no package index, and what is called `synthgen` there is somebody else's.
    """
    return f"in a checkout of this project, pip install -c constraints.txt '.[{','.join(extras)}]'"


def suggest(wrong: str, known: "list[str]") -> str:
    """`" Did you mean 'crack'?"` when one of `known` is close to `wrong`, else the list of what is known."""
    import difflib

    close = difflib.get_close_matches(wrong.lower(), known, n=1, cutoff=0.6)
    if close:
        return f" Did you mean {close[0]!r}?"
    return f" Known: {', '.join(dict.fromkeys(known))}." if len(known) <= _MOST_LISTED else ""
