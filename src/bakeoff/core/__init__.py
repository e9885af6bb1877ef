"""The contest: champions, jobs, decisions. Pure: values in, values out."""
