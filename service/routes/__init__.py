"""HTTP: one resource per file, thin; none of them imports torch or the attack library."""
