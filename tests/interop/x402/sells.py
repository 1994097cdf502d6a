"""The official server, settling by a facilitator elsewhere."""

import json
import sys

from flask import Flask, jsonify, request
from werkzeug.serving import make_server
from x402 import x402ResourceServerSync
from x402.extensions.bazaar import OutputConfig, declare_discovery_extension
from x402.extensions.eip2612_gas_sponsoring import declare_eip2612_gas_sponsoring_extension
from x402.http import FacilitatorConfig, HTTPFacilitatorClientSync
from x402.http.middleware.flask import payment_middleware, set_settlement_overrides
from x402.http.types import PaymentOption, RouteConfig
from x402.mechanisms.evm.batch_settlement.server import (
    BatchSettlementChannelManagerSync,
    BatchSettlementEvmScheme,
    ChannelManagerConfigSync,
)
from x402.mechanisms.evm.exact import ExactEvmServerScheme
from x402.mechanisms.evm.upto import UptoEvmServerScheme

asked = json.loads(sys.argv[1])
NETWORK = "eip155:84532"
facilitator = HTTPFacilitatorClientSync(FacilitatorConfig(url=asked["facilitator"]))
channels = BatchSettlementEvmScheme(asked["payTo"])
server = x402ResourceServerSync(facilitator)
server.register(NETWORK, ExactEvmServerScheme())
server.register(NETWORK, UptoEvmServerScheme())
server.register(NETWORK, channels)
manager = BatchSettlementChannelManagerSync(
    ChannelManagerConfigSync(channels, facilitator, asked["payTo"], asked["token"], NETWORK)
)


def way(scheme, extra=None):
    return PaymentOption(
        scheme=scheme, pay_to=asked["payTo"], price="$0.001", network=NETWORK, extra=extra
    )


sponsored = declare_eip2612_gas_sponsoring_extension()
app = Flask(__name__)
payment_middleware(
    app,
    {
        "GET /exact": RouteConfig(
            accepts=way("exact"),
            description="The way of the exact",
            service_name="Interop",
            tags=["paths"],
            extensions=declare_discovery_extension(output=OutputConfig(example={"path": "/exact"})),
        ),
        "GET /fail": RouteConfig(accepts=way("exact")),
        "GET /permit2": RouteConfig(
            accepts=way("exact", {"assetTransferMethod": "permit2"}), extensions=sponsored
        ),
        "GET /upto": RouteConfig(accepts=way("upto"), extensions=sponsored),
        "GET /channel": RouteConfig(accepts=way("batch-settlement")),
    },
    server,
)


@app.get("/exact")
@app.get("/permit2")
@app.get("/channel")
def served():
    return jsonify(path=request.path)


@app.get("/fail")
def broken():
    return jsonify(error="broken"), 500


@app.get("/upto")
def metered():
    response = jsonify(path=request.path)
    set_settlement_overrides(response, {"amount": "250"})
    return response


@app.post("/claim")
def claim():
    manager.claim_and_settle()
    return jsonify({})


@app.post("/refund")
def refund():
    manager.refund()
    return jsonify({})


listening = make_server("127.0.0.1", 0, app, threaded=True)
print(f"listening http://127.0.0.1:{listening.server_port}", flush=True)
listening.serve_forever()
