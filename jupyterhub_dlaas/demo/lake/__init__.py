"""A real Rucio on one machine: its configuration, accounts and storage, sample data, and transfers that move bytes."""
