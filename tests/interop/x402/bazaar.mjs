// The official client of a bazaar: lists what is there, and searches it.
import { HTTPFacilitatorClient } from "@x402/core/server";
import { withBazaar } from "@x402/extensions/bazaar";

const { directory: url, query } = JSON.parse(process.argv[2]);
const { bazaar } = withBazaar(new HTTPFacilitatorClient({ url })).extensions;
const listed = await bazaar.listResources({ type: "http", limit: 10 });
const found = await bazaar.search({ query, limit: 10 });
console.log(JSON.stringify([listed.items, found.resources]));
