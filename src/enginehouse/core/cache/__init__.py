"""What need not be computed again: finished answers, found by the same question or by one that means the same."""
