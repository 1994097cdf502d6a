"""The official client: makes calls one after another, pays for them, and says what came of each."""

import asyncio
import base64
import json
import sys

import httpx
from eth_account import Account
from x402 import x402Client
from x402.extensions.payment_identifier import append_payment_identifier_to_extensions
from x402.http.clients.httpx import x402AsyncTransport
from x402.mechanisms.evm.batch_settlement.client import BatchSettlementEvmScheme
from x402.mechanisms.evm.exact import ExactEvmScheme, register_exact_evm_client
from x402.mechanisms.evm.signers import EthAccountSignerWithRPC
from x402.mechanisms.evm.upto import UptoEvmClientScheme

asked = json.loads(sys.argv[1])
NETWORK = "eip155:84532"
name = None


class FirstOnly(httpx.AsyncHTTPTransport):
    """A client of version 1 knows nothing of version 2's header."""

    async def handle_async_request(self, request):
        response = await super().handle_async_request(request)
        response.headers.pop("PAYMENT-REQUIRED", None)
        return response


def make_client():
    signer = EthAccountSignerWithRPC(Account.from_key(asked["key"]), rpc_url=asked["rpc"])
    client = x402Client()
    scheme = asked["scheme"]
    if scheme == "exact":
        client.register(NETWORK, ExactEvmScheme(signer))
    if scheme == "upto":
        client.register(NETWORK, UptoEvmClientScheme(signer))
    if scheme == "batch-settlement":
        client.register(NETWORK, BatchSettlementEvmScheme(signer))
    if scheme == "v1":
        register_exact_evm_client(client, signer)

    async def name_it(context):
        if name:
            extensions = context.payment_required.extensions
            append_payment_identifier_to_extensions(extensions, name)

    client.on_before_payment_creation(name_it)
    return client


def read(text):
    return text and json.loads(base64.b64decode(text))


async def main():
    global name
    inner = FirstOnly() if asked["scheme"] == "v1" else httpx.AsyncHTTPTransport()
    said = []
    async with httpx.AsyncClient(
        transport=x402AsyncTransport(make_client(), inner), timeout=60
    ) as client:
        for call in asked["calls"]:
            name = call.get("name")
            response = await client.request(
                call.get("method", "GET"), call["url"], content=call.get("body")
            )
            headers = response.headers
            word = headers.get("PAYMENT-RESPONSE") or headers.get("X-PAYMENT-RESPONSE")
            required = read(headers.get("PAYMENT-REQUIRED"))
            said.append(
                {
                    "status": response.status_code,
                    "body": response.text,
                    "settlement": read(word),
                    "error": required and required.get("error"),
                }
            )
    print(json.dumps(said))


asyncio.run(main())
