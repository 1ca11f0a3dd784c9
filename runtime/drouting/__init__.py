"""Dynamic routing: rules by prefix, group, time and priority, read from a database into generations."""
