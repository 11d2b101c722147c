"""What a server tells of itself: metrics, drift, and a log of requests."""
