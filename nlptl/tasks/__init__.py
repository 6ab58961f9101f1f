"""What examples mean: encoding, loss, predictions, scores."""
