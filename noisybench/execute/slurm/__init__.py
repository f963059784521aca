"""Job arrays on a Slurm cluster, submitted through submitit; a shared file system is assumed, as such clusters have."""
