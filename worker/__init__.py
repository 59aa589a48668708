"""The worker: claims jobs, runs each in a child process of its own, and stores what comes out."""
