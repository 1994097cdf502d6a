// The official client: makes calls one after another, pays for them, and says what came of each.
import { x402Client, wrapFetchWithPayment } from "@x402/fetch";
import { toClientEvmSigner } from "@x402/evm";
import { ExactEvmScheme } from "@x402/evm/exact/client";
import { ExactEvmSchemeV1 } from "@x402/evm/exact/v1/client";
import { UptoEvmScheme } from "@x402/evm/upto/client";
import { BatchSettlementEvmScheme } from "@x402/evm/batch-settlement/client";
import { appendPaymentIdentifierToExtensions } from "@x402/extensions/payment-identifier";
import { createPublicClient, http } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { baseSepolia } from "viem/chains";

const { scheme, key, rpc, calls } = JSON.parse(process.argv[2]);
const chain = createPublicClient({ chain: baseSepolia, transport: http(rpc) });
const signer = toClientEvmSigner(privateKeyToAccount(key), chain);
const network = "eip155:84532";
let name;

const client = new x402Client();
if (scheme === "exact") client.register(network, new ExactEvmScheme(signer, { rpcUrl: rpc }));
if (scheme === "upto") client.register(network, new UptoEvmScheme(signer, { rpcUrl: rpc }));
if (scheme === "batch-settlement") {
  client.register(network, new BatchSettlementEvmScheme(signer, { rpcUrl: rpc }));
}
if (scheme === "v1") client.registerV1("base-sepolia", new ExactEvmSchemeV1(signer));
client.onBeforePaymentCreation(async ({ paymentRequired }) => {
  if (name) appendPaymentIdentifierToExtensions(paymentRequired.extensions ?? {}, name);
});

// A client of version 1 knows nothing of version 2's header.
const firstOnly = async (...args) => {
  const response = await fetch(...args);
  const headers = new Headers(response.headers);
  headers.delete("PAYMENT-REQUIRED");
  return new Response(response.body, { status: response.status, headers });
};
const pay = wrapFetchWithPayment(scheme === "v1" ? firstOnly : fetch, client);

const said = [];
for (const call of calls) {
  name = call.name;
  const response = await pay(call.url, { method: call.method ?? "GET", body: call.body });
  const word = response.headers.get("PAYMENT-RESPONSE") ?? response.headers.get("X-PAYMENT-RESPONSE");
  const required = response.headers.get("PAYMENT-REQUIRED");
  const read = text => text && JSON.parse(Buffer.from(text, "base64").toString());
  said.push({
    status: response.status,
    body: await response.text(),
    settlement: read(word),
    error: read(required)?.error,
  });
}
console.log(JSON.stringify(said));
