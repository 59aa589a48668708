"""Authentication, rate limits, quotas and scopes, enforced before a request's body is read."""
