"""What-if on the command line: traces, scenarios and rules by name, in; tables and a report, out."""
