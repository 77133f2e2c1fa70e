"""A sender and a receiver that tell everything they do as OpenTelemetry traces, metrics and logs."""
