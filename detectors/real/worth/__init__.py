"""What synthetic anomalies are worth: what one fixed detector, trained on each kind of them, finds of real defects.

The detector is small and nothing in it is selected or tuned: frozen features, a head of a few convolutions, a fixed number
of steps, the last step is what is tested. Only the synthetic samples differ, so that the differences are theirs.
"""

from detectors.real.worth.measure import Worth, WorthOptions, measure_worth
from detectors.real.worth.trial import Row

__all__ = ["Row", "Worth", "WorthOptions", "measure_worth"]
