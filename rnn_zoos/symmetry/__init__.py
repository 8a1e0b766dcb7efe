"""What can be done to the weights of a recurrent network without changing its function, and what undoes it."""
