"""Reading the table: search by text or image, and SQL."""
