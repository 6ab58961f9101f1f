"""Changed copies of training texts: word operations, and noise of single characters."""
