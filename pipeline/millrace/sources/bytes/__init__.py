"""Files as rows of bytes, and back."""
