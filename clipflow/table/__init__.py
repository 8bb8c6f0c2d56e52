"""All that touches Lance: the images table and the two small tables beside it."""
