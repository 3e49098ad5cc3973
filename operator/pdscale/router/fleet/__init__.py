"""What is known of the other pods: found, polled, heard from, and how old it is."""
