"""One question per file; each prints a table and writes JSON under results/."""
