"""What every training of a detector shares: options, the loop, runs."""
