"""What every other package uses: errors, units, tensor helpers, caching, progress, safe files."""
