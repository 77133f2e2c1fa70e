"""Which series the nine variables of the seeded cluster choose, by what a series belongs to."""

PLACE = 'region=~"$region", zone=~"$zone", cluster=~"$cluster"'
NODE = f'{PLACE}, node=~"$node"'
WORKLOAD = 'namespace=~"$namespace", service=~"$service", deployment=~"$deployment"'
POD = f'{NODE}, {WORKLOAD}, pod=~"$pod"'
CONTAINER = f'{POD}, container=~"$container"'
# A deployment is in a cluster, not in a zone or on a node.
DEPLOYMENT = 'region=~"$region", cluster=~"$cluster", namespace=~"$namespace", deployment=~"$deployment"'
