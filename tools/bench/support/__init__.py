"""What the benchmarks share: clocks, pictures, tables, records of runs, and the heavier parts of single benchmarks."""
