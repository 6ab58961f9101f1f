"""Many runs: arms over seeds, no run made twice, compared in pairs."""
