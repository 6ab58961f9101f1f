"""What trains: one registered pure function a mode."""
