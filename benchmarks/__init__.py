"""Side-by-side measurements against peers. Each is one command that leaves benchmarks/results/NAME.json; README.md shows them."""
