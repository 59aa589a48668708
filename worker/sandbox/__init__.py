"""The sandbox: every model is opened in a confined child process that can be killed."""
