"""HTTP parts that every route shares: conditional answers and the request context."""
