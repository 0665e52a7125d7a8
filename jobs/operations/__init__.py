"""What people start besides the nightly run: backfills, rollouts, repairs, maintenance, checks of a catalogue."""
