"""Native modules, compiled from ext/ at build time. What they do is stated in their .pyi files."""
