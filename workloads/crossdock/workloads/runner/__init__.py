"""What all methods share: their options, the cluster, the record of a run and its report."""
