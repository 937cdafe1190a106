"""A fleet over a stretch of simulated time, decided by the service's own policy and admission."""
