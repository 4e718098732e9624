"""The web service: receives logs, answers questions, shows pages."""
