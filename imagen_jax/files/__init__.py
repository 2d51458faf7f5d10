"""Files written whole: weights, pictures, charts; here or in a bucket."""
