// The official facilitator behind a door of its own, for the benchmark: verifies and settles `exact`.
import express from "express";
import { x402Facilitator } from "@x402/core/facilitator";
import { toFacilitatorEvmSigner } from "@x402/evm";
import { ExactEvmScheme } from "@x402/evm/exact/facilitator";
import { createWalletClient, http, nonceManager, publicActions } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { baseSepolia } from "viem/chains";

const { gas, rpc } = JSON.parse(process.argv[2]);
const network = "eip155:84532";
// Several transactions at once need a nonce each.
const account = privateKeyToAccount(gas, { nonceManager });
const wallet = createWalletClient({ account, chain: baseSepolia, transport: http(rpc), pollingInterval: 5 })
  .extend(publicActions);
const signer = toFacilitatorEvmSigner({
  address: account.address,
  getCode: args => wallet.getCode(args),
  readContract: args => wallet.readContract(args),
  verifyTypedData: args => wallet.verifyTypedData(args),
  writeContract: args => wallet.writeContract({ ...args, account }),
  sendTransaction: args => wallet.sendTransaction({ ...args, account }),
  waitForTransactionReceipt: args => wallet.waitForTransactionReceipt(args),
});
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
