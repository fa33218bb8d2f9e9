"""What is known: which assets are kept and where, who may fly, who may ask, and what it all cost."""
