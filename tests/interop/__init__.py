"""gRPC's interoperability cases: the messages, a service that answers them, and what runs it for the tools of others."""
