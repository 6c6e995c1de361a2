"""What the broker is compared with, each a program of its own. What must not go in here: parts of the broker."""
