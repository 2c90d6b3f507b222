"""HTTP in, translation only: each module is one noun of the contract."""
