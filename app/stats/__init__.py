"""Statistics: counters that outlive jobs, queries over jobs, and their Prometheus form."""
