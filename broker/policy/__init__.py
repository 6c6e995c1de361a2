"""Who may ask what: identity, grants, rate; and the control plane they come from."""
