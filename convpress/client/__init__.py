"""The client of a service: blocking and asynchronous."""
