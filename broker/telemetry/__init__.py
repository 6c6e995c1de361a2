"""What the broker tells of itself: metric definitions, logging. Labels come from closed sets and never hold personal data."""
