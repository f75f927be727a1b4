"""What one would use instead: one module for each."""
