"""What processes share: the right to fly, and the news of what changed."""
