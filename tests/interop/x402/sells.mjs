// The official server, settling by a facilitator elsewhere.
import express from "express";
import { paymentMiddleware, setSettlementOverrides, x402ResourceServer } from "@x402/express";
import { HTTPFacilitatorClient } from "@x402/core/server";
import { ExactEvmScheme } from "@x402/evm/exact/server";
import { UptoEvmScheme } from "@x402/evm/upto/server";
import { BatchSettlementChannelManager, BatchSettlementEvmScheme } from "@x402/evm/batch-settlement/server";
import { declareEip2612GasSponsoringExtension } from "@x402/extensions";
import { declareDiscoveryExtension } from "@x402/extensions/bazaar";

const { facilitator: url, payTo, token } = JSON.parse(process.argv[2]);
const network = "eip155:84532";
const facilitator = new HTTPFacilitatorClient({ url });
const channels = new BatchSettlementEvmScheme(payTo);
const server = new x402ResourceServer(facilitator)
  .register(network, new ExactEvmScheme())
  .register(network, new UptoEvmScheme())
  .register(network, channels);
const manager = new BatchSettlementChannelManager({ scheme: channels, facilitator, receiver: payTo, token, network });
const way = (scheme, extra) => ({ scheme, price: "$0.001", network, payTo, extra });
const extensions = declareEip2612GasSponsoringExtension();
const app = express();
app.use(
  paymentMiddleware(
    {
      "GET /exact": {
        accepts: way("exact"),
        description: "The way of the exact",
        serviceName: "Interop",
        tags: ["paths"],
        extensions: declareDiscoveryExtension({ output: { example: { path: "/exact" } } }),
      },
      "GET /fail": { accepts: way("exact") },
      "GET /permit2": { accepts: way("exact", { assetTransferMethod: "permit2" }), extensions },
      "GET /upto": { accepts: way("upto"), extensions },
      "GET /channel": { accepts: way("batch-settlement") },
    },
    server,
  ),
);
for (const path of ["/exact", "/permit2", "/channel"]) app.get(path, (_, response) => response.json({ path }));
app.get("/fail", (_, response) => response.status(500).json({ error: "broken" }));
app.get("/upto", (request, response) => {
  setSettlementOverrides(response, { amount: "250" });
  response.json({ path: request.path });
});
// What was paid by channel is claimed and paid out; what is left goes back.
app.post("/claim", async (_, response) => response.json(await manager.claimAndSettle()));
app.post("/refund", async (_, response) => response.json(await manager.refund()));

// No server of theirs speaks version 1 any more; their client of facilitators does.
const first = (request) => ({
  scheme: "exact", network: "base-sepolia", maxAmountRequired: "1000", asset: token, payTo,
  resource: `http://${request.header("host")}/v1`, description: "", mimeType: "application/json",
  maxTimeoutSeconds: 60, extra: { name: "USDC", version: "2" },
});
app.get("/v1", async (request, response) => {
  const asked = first(request);
  const header = request.header("X-PAYMENT");
  if (!header) return response.status(402).json({ x402Version: 1, error: "X-PAYMENT header is required", accepts: [asked] });
  const payment = JSON.parse(Buffer.from(header, "base64").toString());
  const verified = await facilitator.verify(payment, asked);
  if (!verified.isValid) return response.status(402).json({ x402Version: 1, error: verified.invalidReason, accepts: [asked] });
  const settled = await facilitator.settle(payment, asked);
  const word = Buffer.from(JSON.stringify(settled)).toString("base64");
  response.status(settled.success ? 200 : 402).header("X-PAYMENT-RESPONSE", word).json({ path: "/v1" });
});
const listening = app.listen(0, "127.0.0.1", () => {
  console.log(`listening http://127.0.0.1:${listening.address().port}`);
});
