"""Draws dashboards from answers of the server, as Grafana would show them. Needs scripts/requirements-render.txt."""
