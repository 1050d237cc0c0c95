"""Tools of the project: benchmarks, the stand-in data sets, pictures of the documentation, checks."""
