"""Who used what and what it cost: records, prices, sums, budgets and the questions asked of them."""
