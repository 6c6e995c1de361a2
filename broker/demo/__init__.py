"""The demonstration: a synthetic city, simulators of the providers that hold its records, and a guided tour of the broker."""
