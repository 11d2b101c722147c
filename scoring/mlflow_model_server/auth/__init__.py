"""Who may ask, and how often: bearer keys, JWT, a rate limit."""
