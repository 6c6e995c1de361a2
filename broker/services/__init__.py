"""One file a gRPC service: translate messages to and from the exchange, nothing else."""
