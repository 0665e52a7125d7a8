"""Operations besides the nightly run: backfills, rollouts, repairs, maintenance and catalogue checks."""
