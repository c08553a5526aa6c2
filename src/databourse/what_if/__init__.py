"""What-if: the stored signals of a published manifest, traded again under other settings."""
