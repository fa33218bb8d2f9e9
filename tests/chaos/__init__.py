"""Several gateways on one catalog, one storage and one Redis, while parts of all that die, freeze and come back."""
