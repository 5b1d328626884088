"""Building the operator's image: `make image`, and a base for it where no registry can be reached."""
