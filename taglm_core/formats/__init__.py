"""What people bring: annotation formats and raw text, read into sentences."""
