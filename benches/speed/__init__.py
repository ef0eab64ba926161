"""The speed table: what is compared, how answers are checked, how time and memory are taken."""
