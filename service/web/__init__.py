"""What a person looks at: the offline report, its charts, and the pages of the service."""
