// The official client under load, for the benchmark: each key pays by a channel of its own, one call after
// another. A line of milliseconds on standard input is one turn; it says how many calls that was.
import { createInterface } from "node:readline";
import { x402Client, wrapFetchWithPayment } from "@x402/fetch";
import { toClientEvmSigner } from "@x402/evm";
import { BatchSettlementEvmScheme } from "@x402/evm/batch-settlement/client";
import { createPublicClient, http } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { baseSepolia } from "viem/chains";

const { keys, rpc, url, calls } = JSON.parse(process.argv[2]);
const chain = createPublicClient({ chain: baseSepolia, transport: http(rpc) });
const payers = keys.map(key => {
  const signer = toClientEvmSigner(privateKeyToAccount(key), chain);
  const client = new x402Client();
  // One deposit for all: what is measured is the calls.
  const depositPolicy = { depositMultiplier: calls };
  client.register("eip155:84532", new BatchSettlementEvmScheme(signer, { rpcUrl: rpc, depositPolicy }));
  return wrapFetchWithPayment(fetch, client);
});

async function repeat(pay, until) {
  let made = 0;
  while (performance.now() < until) {
    const response = await pay(url);
    await response.text();
    if (!response.ok) throw new Error(`status ${response.status}`);
    made += 1;
  }
  return made;
}

console.log("listening");
for await (const line of createInterface({ input: process.stdin })) {
  const began = performance.now();
  const all = await Promise.all(payers.map(pay => repeat(pay, began + Number(line))));
  const sum = all.reduce((sum, made) => sum + made, 0);
  console.log(`turn ${sum} ${Math.round((performance.now() - began) * 1000)}`);
}
