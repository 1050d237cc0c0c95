"""What the stand-in's pictures look like: one look for each category of the three datasets."""
