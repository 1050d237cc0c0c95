"""What a detector is worth on the official test split: scores, reports, comparisons."""
