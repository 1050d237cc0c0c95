"""The network that finds the foreground: what it learns from, and its training."""
