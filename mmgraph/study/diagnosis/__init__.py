"""What is wrong with a split, before anything is trained on it."""
