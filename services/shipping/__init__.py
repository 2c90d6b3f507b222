"""The stateless service: one shipment per order, handed to the carrier; any number of replicas."""
