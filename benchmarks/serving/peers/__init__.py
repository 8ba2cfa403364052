"""The same ensemble behind other servers, written as their own documentation does it; each runs in its environment."""
