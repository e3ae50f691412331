"""What people look at: pages, charts, pictures."""
