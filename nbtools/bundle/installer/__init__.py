"""What install.py imports from the bundle's folder: only the standard library is used, and imports are relative."""
