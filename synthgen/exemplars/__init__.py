"""Real defects of the user: read, checked, and taken apart into what copies are made from."""
