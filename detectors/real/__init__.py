"""Real defects beside synthetic ones."""
