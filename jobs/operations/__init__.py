"""What people start beside the nightly run: backfills, rollouts, repairs, maintenance, checks of a catalogue."""
