"""The routes of session: they translate HTTP into calls of domain and store; one module per noun of the contract."""
