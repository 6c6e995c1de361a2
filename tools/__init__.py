"""What is run by hand to make files that are checked in. What must not go in here: anything that the product imports."""
