"""The score card: every attribution method against clips whose cause is known."""
