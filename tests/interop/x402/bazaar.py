"""The official client of a bazaar: lists what is there, and searches it."""

import json
import sys

from x402.extensions.bazaar import (
    ListDiscoveryResourcesParams,
    SearchDiscoveryResourcesParams,
    with_bazaar,
)
from x402.http import FacilitatorConfig, HTTPFacilitatorClientSync

asked = json.loads(sys.argv[1])
client = with_bazaar(HTTPFacilitatorClientSync(FacilitatorConfig(url=asked["directory"])))
bazaar = client.extensions.bazaar
listed = bazaar.list_resources(ListDiscoveryResourcesParams(type="http", limit=10))
found = bazaar.search(SearchDiscoveryResourcesParams(query=asked["query"], limit=10))
print(json.dumps([[it.to_dict() for it in some] for some in (listed.items, found.resources)]))
