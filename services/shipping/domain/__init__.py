"""What a shipment is, and what may happen to it: pure values, no I/O."""
