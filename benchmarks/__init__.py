"""How fast the transform is, and how far from the limit."""
