"""The dashboards as data: one file each, with its `DASHBOARD`."""
