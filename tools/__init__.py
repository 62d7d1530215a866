"""What maintainers run from a clone; none of it is part of the installed package."""
