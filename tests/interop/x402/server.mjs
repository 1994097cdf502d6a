// The official server, with the official facilitator in the same process.
import express from "express";
import { paymentMiddleware, x402ResourceServer } from "@x402/express";
import { x402Facilitator } from "@x402/core/facilitator";
import { ExactEvmScheme as ExactServer } from "@x402/evm/exact/server";
import { ExactEvmScheme as ExactFacilitator } from "@x402/evm/exact/facilitator";
import { UptoEvmScheme as UptoServer } from "@x402/evm/upto/server";
import { UptoEvmScheme as UptoFacilitator } from "@x402/evm/upto/facilitator";
import { privateKeyToAccount } from "viem/accounts";
import { gasAccount } from "./gas.mjs";

const { gas, payTo, rpc } = JSON.parse(process.argv[2]);
const network = "eip155:84532";
const signer = gasAccount(privateKeyToAccount(gas), rpc, 20);
const facilitator = new x402Facilitator();
facilitator.register(network, new ExactFacilitator(signer));
facilitator.register(network, new UptoFacilitator(signer));
const local = {
  verify: (payload, requirements) => facilitator.verify(payload, requirements),
  settle: (payload, requirements) => facilitator.settle(payload, requirements),
  getSupported: async () => facilitator.getSupported(),
};
const server = new x402ResourceServer(local)
  .register(network, new ExactServer())
  .register(network, new UptoServer());
const way = (scheme, extra) => ({ scheme, price: "$0.001", network, payTo, extra });
const app = express();
app.use(
  paymentMiddleware(
    {
      "GET /exact": { accepts: way("exact") },
      "GET /upto": { accepts: way("upto") },
      "GET /either": { accepts: [way("upto"), way("exact")] },
      "GET /fail": { accepts: way("exact") },
    },
    server,
  ),
);
for (const path of ["/exact", "/upto", "/either"]) app.get(path, (_, response) => response.json({ path }));
app.get("/fail", (_, response) => response.status(500).json({ error: "broken" }));
const listening = app.listen(0, "127.0.0.1", () => {
  console.log(`listening http://127.0.0.1:${listening.address().port}`);
});
