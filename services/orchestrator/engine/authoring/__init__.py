"""What a workflow author touches: the definition of a workflow and its context."""
