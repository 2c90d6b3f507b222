"""What a shipment is, free of I/O."""
