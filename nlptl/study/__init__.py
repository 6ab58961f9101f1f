"""Many runs: arms over seeds, no cell run twice, compared in pairs."""
