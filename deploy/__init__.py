"""Programs that make what is deployed: pinned requirements and the bill of materials."""
