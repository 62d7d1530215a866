"""The places where people open the course, each stood up as closely as packages allow: `python -m environments.NAME`."""
