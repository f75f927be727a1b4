"""What differs between the bytecodes of Python's versions: one table a version."""
