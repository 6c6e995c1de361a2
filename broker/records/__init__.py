"""Record bases: what the broker itself holds of persons, companies and licences, and compares with what is asserted."""
