"""What a job will cost: hours, requests, bytes, rows and commits, from rates that were measured or given."""
