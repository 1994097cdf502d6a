//! Channels against a model of a few lines: whatever is asked in whatever order, the contract agrees
//! to what the model agrees to, and the money is where the model says, to the unit.

use alloy::primitives::{Address, Bytes, U256};
use alloy::sol_types::{SolCall, SolError};
use bursar::domain::x402::batch::typed::{BATCH_SETTLEMENT, ChannelConfig, Refund};
use bursar::edge::evm::contracts::BatchSettlement as Channels;

use super::claims::signed_claim;
use super::scene::{DELAY_S, Scene, name, row, sign_batch};
use crate::chain::{Chain, FUNDS, gas, payee, payer, stranger};

const STEPS: u32 = 250;

/// One channel, as it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    balance: u128,
    claimed: u128,
    nonce: u64,
    /// How much is asked back, and whether its time has come.
    pending: Option<(u128, bool)>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Deposit(u128),
    Claim { most: u128, total: u128 },
    Refund(u128),
    SignedRefund { amount: u128, nonce: u64 },
    Initiate(u128),
    Finalize,
}

impl Model {
    /// What the step does, or the reason why it does not.
    fn apply(&mut self, step: Step) -> Result<(), Vec<u8>> {
        let left = self.balance - self.claimed;
        match step {
            Step::Deposit(0) => return Err(Channels::ZeroDeposit {}.abi_encode()),
            Step::Deposit(amount) => self.balance += amount,
            Step::Claim { total, .. } if total <= self.claimed => {}
            Step::Claim { most, total } if total > most => {
                return Err(Channels::ClaimExceedsCeiling {}.abi_encode());
            }
            Step::Claim { total, .. } if total > self.balance => {
                return Err(Channels::ClaimExceedsBalance {}.abi_encode());
            }
            Step::Claim { total, .. } => self.claimed = total,
            Step::SignedRefund { nonce, .. } if nonce != self.nonce => {
                return Err(Channels::InvalidRefundNonce {}.abi_encode());
            }
            Step::Refund(0) | Step::SignedRefund { amount: 0, .. } => {
                return Err(Channels::ZeroRefund {}.abi_encode());
            }
            Step::Refund(amount) | Step::SignedRefund { amount, .. } => {
                let given = amount.min(left);
                self.nonce += 1;
                self.balance -= given;
                self.pending = self
                    .pending
                    .and_then(|(asked, due)| (given < asked).then(|| (asked - given, due)));
            }
            Step::Initiate(0) => return Err(Channels::NothingToWithdraw {}.abi_encode()),
            Step::Initiate(_) if self.pending.is_some() => {
                return Err(Channels::WithdrawalAlreadyPending {}.abi_encode());
            }
            Step::Initiate(amount) if amount > left => {
                return Err(Channels::WithdrawAmountExceedsAvailable {}.abi_encode());
            }
            Step::Initiate(amount) => self.pending = Some((amount, false)),
            Step::Finalize => match self.pending {
                None => return Err(Channels::WithdrawalNotPending {}.abi_encode()),
                Some((_, false)) => {
                    return Err(Channels::WithdrawDelayNotElapsed {}.abi_encode());
                }
                Some((asked, true)) => {
                    self.balance -= asked.min(left);
                    self.pending = None;
                }
            },
        }
        Ok(())
    }
}

/// Numbers that look random and are the same at every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn step(&mut self, model: &Model) -> Step {
        let mut amount = || u128::from(self.below(60));
        let (one, other) = (amount(), amount());
        match self.below(8) {
            0 | 1 => Step::Deposit(one),
            2 | 3 => {
                let total = model.claimed + one.saturating_sub(20);
                Step::Claim { most: model.claimed + other, total }
            }
            4 => Step::Refund(one.saturating_sub(40)),
            5 => {
                let nonce = model.nonce.saturating_sub(self.below(2));
                Step::SignedRefund { amount: one.saturating_sub(40), nonce }
            }
            6 => Step::Initiate(one.saturating_sub(10)),
            _ => Step::Finalize,
        }
    }
}

fn call(scene: &Scene<'_>, config: &ChannelConfig, step: Step, salt: u64) -> (Address, Bytes) {
    let relayer = gas().address();
    let (from, data) = match step {
        Step::Deposit(amount) => (relayer, scene.deposit(config, amount, salt).abi_encode()),
        Step::Claim { most, total } => {
            let rows = [(config, row(config, &stranger(), most, total))];
            (stranger().address(), signed_claim(&rows).abi_encode())
        }
        Step::Refund(amount) => {
            (relayer, Channels::refundCall { config: config.into(), amount }.abi_encode())
        }
        Step::SignedRefund { amount, nonce } => {
            let nonce = U256::from(nonce);
            let content = Refund { channelId: name(config), nonce, amount };
            let call = Channels::refundWithSignatureCall {
                config: config.into(),
                amount,
                nonce,
                receiverAuthorizerSignature: sign_batch(&gas(), &content),
            };
            (stranger().address(), call.abi_encode())
        }
        Step::Initiate(amount) => {
            let call = Channels::initiateWithdrawCall { config: config.into(), amount };
            (stranger().address(), call.abi_encode())
        }
        Step::Finalize => {
            let call = Channels::finalizeWithdrawCall { config: config.into() };
            (stranger().address(), call.abi_encode())
        }
    };
    (from, data.into())
}

async fn run(seed: u64) {
    let chain = Chain::sandbox().await;
    let scene = Scene::on(&chain);
    let configs: Vec<ChannelConfig> = (0..3).map(|salt| scene.channel(salt)).collect();
    let mut models = vec![Model::default(); configs.len()];
    let (mut dice, mut settled, mut done, mut refused) = (Dice(seed), 0, 0, 0);
    for at in 0..STEPS {
        let which = usize::try_from(dice.below(3)).unwrap();
        match dice.below(12) {
            0 => {
                chain.pass(DELAY_S + 60).await;
                for model in &mut models {
                    model.pending = model.pending.map(|(asked, _)| (asked, true));
                }
                continue;
            }
            1 => {
                let call = Channels::settleCall { receiver: payee(), token: scene.token() };
                scene.send(&stranger(), BATCH_SETTLEMENT, call).await;
                settled = models.iter().map(|model| model.claimed).sum();
            }
            _ => {
                let step = dice.step(&models[which]);
                let (from, data) = call(&scene, &configs[which], step, at.into());
                let expected = models[which].apply(step);
                let signer = if from == gas().address() { gas() } else { stranger() };
                let answer = scene.ask_raw(from, BATCH_SETTLEMENT, data.clone()).await;
                let told = answer.map(drop).map_err(|data| data.to_vec());
                assert_eq!(told, expected, "SEED={seed} step {at}: {step:?}");
                match expected {
                    Ok(()) => {
                        scene.send_raw(&signer, BATCH_SETTLEMENT, data).await;
                        done += 1;
                    }
                    Err(_) => refused += 1,
                }
            }
        }
        let model = &models[which];
        let seen = scene.state(&configs[which]).await;
        assert_eq!(seen, (model.balance, model.claimed), "SEED={seed} step {at}");
        let pending = scene.pending(&configs[which]).await.0;
        assert_eq!(pending, model.pending.map_or(0, |(asked, _)| asked), "SEED={seed} step {at}");
        let held: u128 = models.iter().map(|model| model.balance).sum();
        let token = scene.token();
        assert_eq!(scene.balance(token, BATCH_SETTLEMENT).await, held - settled, "SEED={seed}");
        assert_eq!(scene.balance(token, payee()).await, settled, "SEED={seed}");
        assert_eq!(scene.balance(token, payer().address()).await, FUNDS - held, "SEED={seed}");
    }
    assert!(done > 60 && refused > 30, "SEED={seed}: {done} done, {refused} refused");
    chain.stop().await;
}

#[tokio::test]
async fn whatever_is_asked_in_whatever_order_no_unit_is_lost_or_made() {
    for seed in [0x5eed_0001, 0x5eed_0002] {
        run(seed).await;
    }
}
