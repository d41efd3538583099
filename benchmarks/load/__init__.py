"""Load on the running service, over REST and gRPC, beside the same pipeline without a service."""
