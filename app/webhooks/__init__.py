"""Webhooks: addresses that may be called, the signed call, and its deliveries."""
