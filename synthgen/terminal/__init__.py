"""How commands talk to people and programs: consoles, progress, values that are typed."""
