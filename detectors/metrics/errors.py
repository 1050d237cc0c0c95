"""What can be wrong with what is to be measured."""

from synthgen.errors import InputDataError


class MetricError(InputDataError):
    """A metric that has no value for this input; the text says why."""
