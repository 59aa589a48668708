"""The worker's part of the queue: leases, heartbeats, the sweeper and retention."""
