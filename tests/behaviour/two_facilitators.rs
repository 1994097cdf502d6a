//! One authorization in the hands of two facilitators on one chain. Row D06 of the threat model.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use alloy::primitives::B256;
use alloy::signers::SignerSync;
use bursar::domain::commitment::{Authorization, Commitment, Scheme, TransferMethod};
use bursar::domain::id::PaymentId;
use bursar::domain::money::Amount;
use bursar::domain::policy::Rates;
use bursar::domain::x402::TokenDomain;
use bursar::domain::x402::payload::payment_payload;
use bursar::domain::x402::wire::PaymentPayload;
use bursar::edge::grpc::{Address, Listener};
use bursar::edge::http::remote::{RemoteFacilitators, RemotePlan};
use bursar::node::{FacilitatorNode, FacilitatorPlan, Provider, connect_rail, sandbox_assets};
use bursar::ports::clock::Clock;
use bursar::ports::paid_service::{PaidCall, PaidService, ServiceError};
use bursar::ports::signer::authorize;
use bursar::runtime::facilitator::Rail;
use futures_util::future::{join, join_all};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::channels::{call, finish, offer, stranger_key};
use crate::market::{Market, PRICE, key, loopback, usdc};

/// A facilitator with a gas account of its own.
async fn facilitator(market: &Market, gas: &str) -> (FacilitatorNode, TempDir) {
    let gas = key(gas);
    market.chain.fund(gas.address(), Amount::new(1)).await.unwrap();
    let clock: Arc<dyn Clock> = Arc::new(market.hand.clone());
    let rail = market.shop.rail(&market.chain);
    let (evm, settler) = connect_rail(&rail, Some(&gas), Arc::clone(&clock)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let node = FacilitatorNode::start(FacilitatorPlan {
        settlements: folder.path().join("settlements.db"),
        rails: vec![Rail { settler: settler.unwrap(), evidence: evm }],
        assets: sandbox_assets(),
        payer_rates: Rates::default(),
        own: Default::default(),
        registry: None,
        listener: Listener::bind(&Address::Tcp(loopback()), "a test").await.unwrap(),
        clock,
    });
    (node.unwrap(), folder)
}

/// Starts the provider anew, at the same place and with the same books, settling by whoever answers there.
async fn settle_by(market: &mut Market, url: &str) {
    let provider = market.provider.take().unwrap();
    let place = provider.endpoint.trim_start_matches("http://").parse().unwrap();
    provider.drain(Duration::from_secs(20)).await;
    let mut plan = market.provider_plan().await;
    plan.listener = Listener::bind(&Address::Tcp(place), "a test").await.unwrap();
    let by = RemotePlan {
        urls: vec![url.to_owned()],
        assets: sandbox_assets(),
        evidence: market.evidence.clone(),
        clock: Arc::new(market.hand.clone()),
        answer_within: Duration::from_secs(5),
        look_for: Duration::from_millis(200),
    };
    plan.settler = Arc::new(RemoteFacilitators::connect(by).await.unwrap());
    market.provider = Some(Provider::start(plan).await.unwrap());
}

/// A stranger's payment of what is asked for `body`.
async fn payment(market: &Market, body: &str) -> PaymentPayload {
    let payer = stranger_key();
    market.chain.fund(payer.address(), Amount::new(1_000_000)).await.unwrap();
    let offer = offer(market, body).await;
    let accepted = offer.accepts[0].clone();
    let now_s = market.hand.now().as_secs();
    let commitment = Commitment {
        scheme: Scheme::Exact,
        method: TransferMethod::Eip3009,
        asset: usdc(),
        payer: payer.address(),
        pay_to: key("payee").address(),
        amount_max: Amount::new(PRICE),
        valid_after_s: 0,
        valid_before_s: now_s + 60,
        nonce: B256::repeat_byte(6),
    };
    let token = TokenDomain::of(sandbox_assets().iter().next().unwrap());
    let sign = |digest| payer.sign_hash_sync(&digest).unwrap();
    let (commitment, signature) = authorize(commitment, &token, sign);
    let authorization = Authorization { commitment, signature };
    let payment = PaymentId::from_bytes([6; 16]);
    payment_payload(Some(offer.resource), accepted, &authorization, None, Some(payment))
}

/// Shows `payment` to the payee for `body`.
async fn show(market: &Market, body: &str, payment: &PaymentPayload) -> Result<(), String> {
    let payee = &market.provider.as_ref().unwrap().payee;
    let paid = PaidCall { payment: Some(payment.clone()), ..call(body) };
    match payee.infer(paid).await {
        Ok(answer) => finish(answer).await,
        Err(ServiceError::PaymentRequired(offer)) => Err(offer.error.unwrap_or_default()),
        Err(error) => Err(error.to_string()),
    }
}

/// Hands `payment` to the facilitator at `url` directly, as anybody may.
async fn hand_in(url: &str, payment: &PaymentPayload) -> Value {
    let body = json!({
        "x402Version": 2, "paymentPayload": payment, "paymentRequirements": payment.accepted,
    });
    let client = reqwest::Client::new();
    let told = client
        .post(format!("{url}/settle"))
        .header("content-type", "application/json")
        .body(body.to_string())
        .send()
        .await
        .unwrap();
    serde_json::from_slice(&told.bytes().await.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn d06_one_authorization_at_two_facilitators_moves_once_and_is_granted_once() {
    let mut market = Market::open().await;
    let (first, _first) = facilitator(&market, "gas of the first").await;
    let (second, _second) = facilitator(&market, "gas of the second").await;
    settle_by(&mut market, &first.url).await;
    let paid = payment(&market, "one").await;

    // The payee's settles it by one, and somebody else hands it to the other meanwhile.
    let shown = join_all((0..8).map(|_| show(&market, "one", &paid)));
    let handed = join_all((0..8).map(|_| hand_in(&second.url, &paid)));
    let (shown, handed) = join(shown, handed).await;
    assert!(handed.iter().all(|said| said["success"].is_boolean()), "{handed:?}");
    assert_eq!(show(&market, "one", &paid).await, Ok(()), "{shown:?}");
    assert_eq!(market.engine.served.load(Ordering::SeqCst), 1, "{shown:?}");
    assert_eq!(market.earned_on_chain().await, PRICE);

    // Settled by the other from now on, with the same books: it is the same claim, and no second grant.
    settle_by(&mut market, &second.url).await;
    for _ in 0..3 {
        assert_eq!(show(&market, "one", &paid).await, Ok(()));
    }
    show(&market, "two", &paid).await.unwrap_err();
    for url in [&first.url, &second.url] {
        hand_in(url, &paid).await;
    }
    assert_eq!(market.engine.served.load(Ordering::SeqCst), 1);
    assert_eq!(market.earned_on_chain().await, PRICE);
    let claims = market.provider.as_ref().unwrap().treasury.read(|ledger| ledger.claims().count());
    assert_eq!(claims.await.unwrap(), 1);
    first.drain().await;
    second.drain().await;
}
