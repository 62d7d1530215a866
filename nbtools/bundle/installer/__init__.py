"""The modules that install.py imports from the bundle's folder. They use only the standard library and relative imports."""
