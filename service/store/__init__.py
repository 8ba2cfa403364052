"""What the service remembers: tables, their migrations, and artifacts on disk."""
