"""One module per library; base.py says what a backend is."""
