// The official facilitator behind a door of its own, for the benchmark: verifies and settles `exact`.
import express from "express";
import { x402Facilitator } from "@x402/core/facilitator";
import { ExactEvmScheme } from "@x402/evm/exact/facilitator";
import { nonceManager } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { gasAccount } from "./gas.mjs";

const { gas, rpc } = JSON.parse(process.argv[2]);
const network = "eip155:84532";
// Several transactions at once need a nonce each.
const signer = gasAccount(privateKeyToAccount(gas, { nonceManager }), rpc, 5);
const facilitator = new x402Facilitator();
facilitator.register(network, new ExactEvmScheme(signer));
const app = express();
app.use(express.json());
for (const act of ["verify", "settle"]) {
  app.post(`/${act}`, async (request, response) => {
    const { paymentPayload, paymentRequirements } = request.body;
    response.json(await facilitator[act](paymentPayload, paymentRequirements));
  });
}
const listening = app.listen(0, "127.0.0.1", () => {
  console.log(`listening http://127.0.0.1:${listening.address().port}`);
});
