"""Several tasks on one body: each learnt with the others, or after another, beside each learnt alone."""
