"""What sayonce is measured beside."""
