//! What an agent's role may buy, as OpenAI's clients list models.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Value, json};

use crate::domain::id::Name;
use crate::edge::http::openai::asked::Face;
use crate::edge::http::openai::refusal::Refusal;
use crate::edge::http::openai::{Door, identify};
use crate::runtime::payer::ForSale;

pub(super) async fn list(State(door): State<Arc<Door>>, headers: HeaderMap) -> Response {
    let listed = async {
        let models = find_models(&door, &headers).await?;
        let data: Vec<Value> = models.into_iter().map(|(name, of)| model(&name, &of)).collect();
        Ok::<_, Refusal>(json!({ "object": "list", "data": data }))
    };
    answer(listed.await)
}

pub(super) async fn one(
    State(door): State<Arc<Door>>,
    Path(wanted): Path<String>,
    headers: HeaderMap,
) -> Response {
    let found = async {
        let models = find_models(&door, &headers).await?;
        let bare = wanted.split_once('/').map_or(wanted.as_str(), |(_, model)| model);
        let name = bare.parse().map_err(|_| Refusal::no_model(&wanted))?;
        models.get(&name).map(|of| model(&name, of)).ok_or_else(|| Refusal::no_model(&wanted))
    };
    answer(found.await)
}

fn answer(said: Result<Value, Refusal>) -> Response {
    match said {
        Ok(json) => {
            let mut response = Response::new(Body::from(json.to_string()));
            let kind = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// Every model that may be bought, with who sells it.
async fn find_models(
    door: &Door,
    headers: &HeaderMap,
) -> Result<BTreeMap<Name, Vec<ForSale>>, Refusal> {
    let agent = identify(&door.treasury, headers).await?;
    let faces = Face::ALL.map(Face::name);
    let mut models: BTreeMap<Name, Vec<ForSale>> = BTreeMap::new();
    for sold in door.payer.for_sale(agent, &faces).await? {
        models.entry(sold.ware.model.clone()).or_default().push(sold);
    }
    Ok(models)
}

/// A price is in atomic units of its asset, as x402 writes it.
fn model(name: &Name, of: &[ForSale]) -> Value {
    let offers: Vec<Value> = of
        .iter()
        .map(|sold| {
            let terms = &sold.ware.terms;
            json!({
                "provider": sold.provider.as_str(),
                "capability": sold.ware.capability.as_str(),
                "network": sold.pay_by.asset.network.to_string(),
                "asset": sold.pay_by.asset.to_string(),
                "scheme": sold.pay_by.scheme.as_str(),
                "price": {
                    "flat": terms.flat.to_string(),
                    "per_1k_input": terms.per_1k_input.to_string(),
                    "per_1k_output": terms.per_1k_output.to_string(),
                },
            })
        })
        .collect();
    let owner = of.first().map_or("", |sold| sold.provider.as_str());
    let created = of.iter().map(|sold| sold.listed_at.as_secs()).min().unwrap_or(0);
    json!({
        "id": name.as_str(),
        "object": "model",
        "created": created,
        "owned_by": owner,
        "bursar": { "offers": offers },
    })
}
