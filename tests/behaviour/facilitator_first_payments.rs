//! Payers that are contracts which are not there yet, as a facilitator takes them: made as they pay first, by what
//! the operator named and by nothing else. Row ids are those of the threat model.

use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use alloy::sol_types::{SolCall, SolValue};
use bursar::domain::commitment::Commitment;
use serde_json::{Value, json};

use crate::chain::{Chain, artifact_code, gas, payer, settle_call, sign, stranger};
use crate::evm::on_both_chains;
use crate::facilitator::World;
use crate::facilitator_wallets::{
    EXACT, PERMIT2_EXACT, WRAPPED, asked, assert_refused, assert_unsigned, send, signature,
    with_signature,
};

on_both_chains!(
    a_wallet_that_is_not_there_yet_is_made_as_it_pays_first,
    a12_a_factory_that_nobody_named_is_not_called,
    a12_what_makes_no_wallet_costs_nothing,
    a12_a_wallet_that_did_not_sign_is_not_made,
    a13_a_wallet_that_changed_its_mind_before_it_paid_is_not_believed,
    payments_of_one_wallet_make_it_once,
    a_wallet_that_somebody_else_made_pays_all_the_same,
);

alloy::sol! {
    function make(address owner, bytes32 salt) external returns (address);
    function pretend(address wallet) external returns (address);
    function burn() external;
    function act(address to, bytes data) external;
    function approve(address spender, uint256 value) external returns (bool);
    function close() external;
}

/// A factory, and a wallet of the stranger's key that it would make, with ten thousand in it.
struct Unmade {
    factory: Address,
    wallet: Address,
}

const SALT: B256 = B256::repeat_byte(5);

impl Unmade {
    async fn on(chain: &Chain) -> Self {
        let code = artifact_code("KeyWalletFactory", "bytecode");
        let deploy = TransactionRequest::default().with_deploy_code(code);
        let factory = send(chain, deploy).await.unwrap();
        let code = artifact_code("KeyWallet", "bytecode");
        let code = [code.as_ref(), &stranger().address().abi_encode()].concat();
        let wallet = factory.create2_from_code(SALT, code);
        let funds = Commitment { pay_to: wallet, ..chain.commitment(10_000, 999) };
        chain.act(stranger(), settle_call(&sign(funds, &payer()))).await;
        Self { factory, wallet }
    }

    /// A facilitator that lets the factory make wallets.
    async fn named<'c>(&self, chain: &'c Chain) -> World<'c> {
        let evm = chain.evm().await;
        let settler = chain.settler(&evm).await.with_factories([self.factory].into());
        World::by(chain, evm, settler).await
    }

    fn making(&self) -> Vec<u8> {
        makeCall { owner: stranger().address(), salt: SALT }.abi_encode()
    }

    /// A payment that says how its wallet is made: by a call of the factory.
    fn wrapped(&self, payment: Value, call: Vec<u8>) -> Value {
        let inner = Bytes::from(signature(&payment));
        let wrapped = (self.factory, Bytes::from(call), inner).abi_encode_params();
        with_signature(payment, &[wrapped.as_slice(), WRAPPED.as_slice()].concat())
    }

    /// A payment that its owner signed, with the making of its wallet.
    fn paying(&self, chain: &Chain, amount: u128, nonce: u64) -> Value {
        let payment = asked(chain, (self.wallet, &stranger()), EXACT, amount, nonce);
        self.wrapped(payment, self.making())
    }

    async fn is_there(&self, chain: &Chain) -> bool {
        !chain.client(stranger()).get_code_at(self.wallet).await.unwrap().is_empty()
    }

    async fn make(&self, chain: &Chain) {
        let request = TransactionRequest::default().with_to(self.factory);
        send(chain, request.with_input(self.making())).await;
    }
}

/// How many transactions the facilitator's account sent.
async fn sent(chain: &Chain) -> u64 {
    chain.client(gas()).get_transaction_count(gas().address()).await.unwrap()
}

async fn assert_settles(world: &World<'_>, payment: &Value) -> Value {
    let (_, settled) = world.ask("/settle", payment).await;
    assert_eq!(settled["success"], true, "{settled}");
    settled
}

async fn a_wallet_that_is_not_there_yet_is_made_as_it_pays_first(chain: &Chain) {
    let unmade = Unmade::on(chain).await;
    let world = unmade.named(chain).await;
    let payment = unmade.paying(chain, 1_000, 1);
    let (_, verified) = world.ask("/verify", &payment).await;
    assert_eq!(verified["isValid"], true, "{verified}");
    assert_eq!(verified["payer"], unmade.wallet.to_string());
    assert!(!unmade.is_there(chain).await);
    let before = sent(chain).await;
    let settled = assert_settles(&world, &payment).await;
    assert_eq!((unmade.is_there(chain).await, sent(chain).await), (true, before + 1));
    // It is told once, whichever way it is shown.
    for again in [&payment, &asked(chain, (unmade.wallet, &stranger()), EXACT, 1_000, 1)] {
        let (_, again) = world.ask("/verify", again).await;
        assert_eq!(again["invalidReason"], "invalid_exact_evm_nonce_already_used");
    }
    let (_, again) = world.ask("/settle", &payment).await;
    assert_eq!(again["errorReason"], "invalid_exact_evm_nonce_already_used");
    assert_eq!(again["transaction"], settled["transaction"]);
    // From here on it is a wallet as any other, whether it says how it was made or not.
    let plain = asked(chain, (unmade.wallet, &stranger()), EXACT, 200, 2);
    assert_settles(&world, &plain).await;
    assert_settles(&world, &unmade.paying(chain, 30, 3)).await;
    assert_eq!((world.paid().await, sent(chain).await), (1_230, before + 3));
}

async fn a12_a_factory_that_nobody_named_is_not_called(chain: &Chain) {
    let unmade = Unmade::on(chain).await;
    let world = World::on(chain).await;
    let before = sent(chain).await;
    let payment = unmade.paying(chain, 1_000, 1);
    assert_refused(&world, &payment, "eip6492_factory_not_allowed").await;
    assert_eq!((unmade.is_there(chain).await, sent(chain).await), (false, before));
    // Where it is there, nobody has to make it.
    unmade.make(chain).await;
    let world = World::on(chain).await;
    assert_settles(&world, &payment).await;
}

async fn a12_what_makes_no_wallet_costs_nothing(chain: &Chain) {
    let unmade = Unmade::on(chain).await;
    let world = unmade.named(chain).await;
    let before = sent(chain).await;
    let approve = approveCall { spender: stranger().address(), value: U256::MAX }.abi_encode();
    let calls = [
        pretendCall { wallet: unmade.wallet }.abi_encode(),
        makeCall { owner: payer().address(), salt: SALT }.abi_encode(),
        actCall { to: chain.token, data: approve.into() }.abi_encode(),
        burnCall {}.abi_encode(),
        vec![1, 2, 3, 4],
        Vec::new(),
    ];
    for (nonce, call) in (1..).zip(calls) {
        let payment = asked(chain, (unmade.wallet, &stranger()), EXACT, 1_000, nonce);
        let payment = unmade.wrapped(payment, call);
        assert_refused(&world, &payment, "smart_wallet_deployment_failed").await;
    }
    // Permit2 was never allowed to move anything of a wallet that is not there.
    let payment = asked(chain, (unmade.wallet, &stranger()), PERMIT2_EXACT, 1_000, 9);
    assert_unsigned(&world, &unmade.wrapped(payment, unmade.making())).await;
    assert_eq!((world.paid().await, sent(chain).await), (0, before));
    // None of it stands in the way of the payment that is good.
    assert_settles(&world, &unmade.paying(chain, 1_000, 1)).await;
}

async fn a12_a_wallet_that_did_not_sign_is_not_made(chain: &Chain) {
    let unmade = Unmade::on(chain).await;
    let world = unmade.named(chain).await;
    let before = sent(chain).await;
    let forged = asked(chain, (unmade.wallet, &payer()), EXACT, 1_000, 1);
    assert_unsigned(&world, &unmade.wrapped(forged, unmade.making())).await;
    let good = asked(chain, (unmade.wallet, &stranger()), EXACT, 1_000, 1);
    let garbage = with_signature(good, &[7; 65]);
    assert_unsigned(&world, &unmade.wrapped(garbage, unmade.making())).await;
    let poor = unmade.paying(chain, 10_001, 2);
    assert_refused(&world, &poor, "insufficient_funds").await;
    assert_eq!((unmade.is_there(chain).await, sent(chain).await), (false, before));
    // One that is there is asked for the same signature, and says the same.
    unmade.make(chain).await;
    let forged = asked(chain, (unmade.wallet, &payer()), EXACT, 1_000, 3);
    assert_unsigned(&world, &unmade.wrapped(forged, unmade.making())).await;
}

async fn a13_a_wallet_that_changed_its_mind_before_it_paid_is_not_believed(chain: &Chain) {
    let unmade = Unmade::on(chain).await;
    let world = unmade.named(chain).await;
    let payment = unmade.paying(chain, 1_000, 1);
    let (_, verified) = world.ask("/verify", &payment).await;
    assert_eq!(verified["isValid"], true, "{verified}");
    unmade.make(chain).await;
    let close = TransactionRequest::default().with_to(unmade.wallet);
    send(chain, close.with_input(closeCall {}.abi_encode())).await;
    let before = sent(chain).await;
    assert_unsigned(&world, &payment).await;
    assert_eq!((world.paid().await, sent(chain).await), (0, before));
}

async fn payments_of_one_wallet_make_it_once(chain: &Chain) {
    let unmade = Unmade::on(chain).await;
    let world = unmade.named(chain).await;
    let payments = [unmade.paying(chain, 1_000, 1), unmade.paying(chain, 500, 2)];
    let [one, other] = &payments;
    let (one, again, other) = tokio::join!(
        world.ask("/settle", one),
        world.ask("/settle", one),
        world.ask("/settle", other),
    );
    let mut told = [one.1["success"] == json!(true), again.1["success"] == json!(true)];
    told.sort_unstable();
    assert_eq!((told, &other.1["success"]), ([false, true], &json!(true)));
    assert_eq!(world.paid().await, 1_500);
}

async fn a_wallet_that_somebody_else_made_pays_all_the_same(chain: &Chain) {
    let unmade = Unmade::on(chain).await;
    let world = unmade.named(chain).await;
    let payment = unmade.paying(chain, 1_000, 1);
    let (_, verified) = world.ask("/verify", &payment).await;
    assert_eq!(verified["isValid"], true, "{verified}");
    unmade.make(chain).await;
    assert_settles(&world, &payment).await;
    assert_eq!(world.paid().await, 1_000);
}
